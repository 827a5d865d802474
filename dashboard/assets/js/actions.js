// @ts-check
/** Buttons that act: ask first where it matters, then without leaving the page. And the copy buttons. */

export function start() {
  document.addEventListener("submit", (event) => {
    const form = /** @type {HTMLFormElement} */ (event.target);
    if (form.method !== "post" || new URL(form.action).pathname !== "/do") return;
    const button = /** @type {SubmitEvent} */ (event).submitter;
    const data = new FormData(form, button);
    // The page that asks when there are no scripts has its answer in the form already.
    if (data.get("confirm") === "yes") return;
    event.preventDefault();
    void act(form, data, button);
  });
  document.addEventListener("click", (event) => {
    const target = /** @type {Element} */ (event.target);
    const button = target.closest("[data-copy]");
    if (button) void copy(/** @type {HTMLElement} */ (button));
  });
}

/** @param {HTMLFormElement} form @param {FormData} data @param {HTMLElement | null} button */
async function act(form, data, button) {
  const chosen = data.getAll("id").length;
  if (isBulk(form) && chosen === 0) return;
  const question = form.dataset.confirm?.replace("{n}", String(chosen));
  if (question && !(await confirmed(question))) return;
  data.set("confirm", "yes");
  button?.classList.add("busy");
  try {
    const response = await fetch("/do", {
      method: "POST",
      headers: { accept: "application/json" },
      body: new URLSearchParams(/** @type {any} */ (data)),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.detail ?? response.statusText);
    after(form, data, answer.message);
  } catch (error) {
    toast(error instanceof Error ? error.message : String(error), true);
  } finally {
    button?.classList.remove("busy");
  }
}

/** What the visitor sees next. @param {HTMLFormElement} form @param {FormData} data @param {string} message */
function after(form, data, message) {
  toast(message);
  if (isBulk(form)) {
    for (const box of document.querySelectorAll("tbody input[type=checkbox]")) {
      /** @type {HTMLInputElement} */ (box).checked = false;
    }
    document.dispatchEvent(new CustomEvent("patched"));
  }
  document.dispatchEvent(new CustomEvent("acted"));
  const gone = location.pathname === `/jobs/${data.get("id")}` && data.get("do") === "job:delete";
  if (gone) location.assign(String(data.get("back") ?? "/jobs"));
}

/** `form.id` would be the fields called "id". @param {HTMLFormElement} form */
function isBulk(form) {
  return form.getAttribute("id") === "bulk";
}

/** Asks in a dialog. @param {string} question @returns {Promise<boolean>} */
function confirmed(question) {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("confirm"));
  const text = document.getElementById("confirm-text");
  if (text) text.textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/** Says something in a corner for a while. @param {string} text @param {boolean} [bad] */
export function toast(text, bad = false) {
  const line = document.createElement("p");
  line.textContent = text;
  if (bad) line.className = "bad";
  document.getElementById("toasts")?.append(line);
  setTimeout(() => line.remove(), bad ? 9000 : 4500);
}

/** @param {HTMLElement} button */
async function copy(button) {
  const text = button.dataset.copy ?? "";
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // The clipboard interface exists on https and localhost only; the old way works everywhere.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "sr";
    button.after(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  toast(document.body.dataset.copied ?? "✓");
}
