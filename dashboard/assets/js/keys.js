// @ts-check
/** Shortcuts. They never act where text is typed, and never with Ctrl, Alt or Meta. */
import { toggle } from "./live.js";
import { next as nextTheme } from "./theme.js";

/** Time for the second key of a pair, in milliseconds. */
const PAIR_MS = 1200;
let first = "";
let firstAt = 0;

export function start() {
  document.getElementById("help")?.addEventListener("click", help);
  document.addEventListener("keydown", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    if (target.matches("input:not([type=checkbox]), textarea, select, [contenteditable]")) return;
    if (document.querySelector("dialog[open]")) return;
    const key = Date.now() - firstAt < PAIR_MS && first ? `${first} ${event.key}` : event.key;
    first = event.key === "g" ? "g" : "";
    firstAt = Date.now();
    if (run(key)) event.preventDefault();
  });
}

/** @param {string} key @returns {boolean} whether it meant something */
function run(key) {
  const link = [...document.querySelectorAll("a[data-key]")].find((a) => a.getAttribute("data-key") === key);
  if (link instanceof HTMLAnchorElement) {
    link.click();
    return true;
  }
  switch (key) {
    case "?": return help();
    case "p": toggle(); return true;
    case "t": nextTheme(); return true;
    case "j": return move(1);
    case "k": return move(-1);
    case "x": return select();
    case "/": return filter();
    default: return false;
  }
}

function help() {
  /** @type {HTMLDialogElement | null} */ (document.getElementById("keys"))?.showModal();
  return true;
}

function filter() {
  const box = /** @type {HTMLInputElement | null} */ (document.querySelector("[data-filter]"));
  box?.focus();
  box?.select();
  return box !== null;
}

/** The row with the focus goes up or down; Enter then follows its link. @param {number} by */
function move(by) {
  const rows = [...document.querySelectorAll("tr[data-href]")];
  if (rows.length === 0) return false;
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const row = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by))];
  for (const other of rows) other.classList.toggle("at", other === row);
  const link = /** @type {HTMLElement | null} */ (row.querySelector("th a"));
  link?.focus();
  row.scrollIntoView({ block: "nearest" });
  return true;
}

function select() {
  const row = document.activeElement?.closest("tr[data-href]");
  const box = /** @type {HTMLInputElement | null} */ (row?.querySelector("input[type=checkbox]"));
  box?.click();
  return box !== null && box !== undefined;
}
