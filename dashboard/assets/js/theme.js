// @ts-check
/** Light, dark or as the system has it. Kept in a cookie, so that the server draws the right one at once. */

const ORDER = ["auto", "light", "dark"];

export function start() {
  document.getElementById("theme")?.addEventListener("click", next);
  show();
}

/** Goes to the next theme. */
export function next() {
  const root = document.documentElement;
  const theme = ORDER[(ORDER.indexOf(root.dataset.theme ?? "auto") + 1) % ORDER.length];
  root.dataset.theme = theme;
  document.cookie = `windlass_theme=${theme}; Path=/; Max-Age=31536000; SameSite=Strict`;
  show();
}

function show() {
  const button = document.getElementById("theme");
  const text = button?.querySelector("span");
  if (button && text) text.textContent = button.dataset[document.documentElement.dataset.theme ?? "auto"] ?? "";
}
