// @ts-check
/** Selection of rows: all of a page, or a range with Shift. */

/** @type {HTMLInputElement | null} */
let last = null;

export function start() {
  document.addEventListener("click", (event) => {
    const target = /** @type {Element} */ (event.target);
    if (!(target instanceof HTMLInputElement) || target.type !== "checkbox") return;
    if (target.matches("[data-all]")) all(target.checked);
    else if (target.matches("tbody input")) one(target, event.shiftKey);
    show();
  });
  document.addEventListener("patched", show);
  show();
}

/** @returns {HTMLInputElement[]} */
function boxes() {
  return [...document.querySelectorAll("tbody input[type=checkbox][form=bulk]")].map((box) => /** @type {any} */ (box));
}

/** @param {boolean} checked */
function all(checked) {
  for (const box of boxes()) box.checked = checked;
}

/** @param {HTMLInputElement} box @param {boolean} range */
function one(box, range) {
  const rows = boxes();
  if (range && last && rows.includes(last)) {
    const [from, to] = [rows.indexOf(last), rows.indexOf(box)].sort((a, b) => a - b);
    for (const between of rows.slice(from, to + 1)) between.checked = box.checked;
  }
  last = box;
}

function show() {
  const bulk = document.getElementById("bulk");
  const text = /** @type {HTMLElement | null} */ (bulk?.querySelector("[data-chosen]"));
  if (!bulk || !text) return;
  const [rows, chosen] = [boxes(), boxes().filter((box) => box.checked).length];
  text.dataset.idle ??= text.textContent ?? "";
  text.textContent = chosen > 0 ? (text.dataset.chosen ?? "").replace("{n}", String(chosen)) : text.dataset.idle;
  bulk.classList.toggle("some", chosen > 0);
  const head = /** @type {HTMLInputElement | null} */ (document.querySelector("[data-all]"));
  if (!head) return;
  head.checked = rows.length > 0 && chosen === rows.length;
  head.indeterminate = chosen > 0 && chosen < rows.length;
}
