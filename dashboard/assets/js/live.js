// @ts-check
/**
 * Keeps the page true: one stream of changed fragments per page, open only while the page is seen, since a browser
 * allows six connections per host and every hidden tab would hold one.
 */
import { morph } from "./morph.js";
import { write } from "./time.js";

/** @type {EventSource | null} */
let source = null;
let paused = false;
/** How long a pointer that rests holds the rows below it, and how long an action lets everything through. */
const REST_MS = 3000;
let movedAt = 0;
let actedAt = 0;
/** Fragments that wait because the visitor points into what they would change. @type {Map<string, Element>} */
const waiting = new Map();

export function start() {
  const page = document.body.dataset.live;
  const button = document.getElementById("live");
  if (!page) {
    if (button) button.hidden = true;
    return;
  }
  button?.addEventListener("click", toggle);
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", () => open());
  document.addEventListener("pointermove", () => (movedAt = Date.now()), { passive: true });
  document.addEventListener("acted", () => {
    actedAt = Date.now();
    release();
  });
  setInterval(release, 500);
  open();
}

/** Pauses or resumes. */
export function toggle() {
  paused = !paused;
  if (paused) close();
  else open();
  show();
}

function open() {
  if (source || paused || document.hidden) return;
  const page = document.body.dataset.live ?? "/";
  source = new EventSource(`/live?page=${encodeURIComponent(page)}`);
  source.addEventListener("patch", (event) => patch(event.data));
  source.addEventListener("down", () => down(true));
  source.addEventListener("up", () => down(false));
  source.addEventListener("open", () => {
    down(false);
    show();
  });
  source.addEventListener("error", () => {
    show(true);
    // A refused stream is not tried again by the browser itself.
    if (source?.readyState === EventSource.CLOSED) {
      close();
      setTimeout(open, 4000 + Math.random() * 2000);
    }
  });
}

function close() {
  source?.close();
  source = null;
}

/** @param {string} html */
function patch(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const wanted = template.content.firstElementChild;
  if (!wanted?.id) return;
  const element = document.getElementById(wanted.id);
  if (!element) return;
  if (isHeld(element)) waiting.set(wanted.id, wanted);
  else apply(element, wanted);
}

/** @param {Element} element @param {Element} wanted */
function apply(element, wanted) {
  waiting.delete(wanted.id);
  morph(element, wanted);
  const now = document.getElementById(wanted.id);
  if (now) write(now);
  document.dispatchEvent(new CustomEvent("patched"));
}

/** Whether rows would move under a pointer that aims, or away from the keyboard or a selection. @param {Element} element */
function isHeld(element) {
  if (!element.hasAttribute("data-hold") || Date.now() - actedAt < REST_MS) return false;
  const aims = Date.now() - movedAt < REST_MS && element.querySelector("tbody:hover") !== null;
  return aims || element.querySelector("tbody :focus-visible, tbody :checked") !== null;
}

function release() {
  for (const [id, wanted] of waiting) {
    const element = document.getElementById(id);
    if (!element) waiting.delete(id);
    else if (!isHeld(element)) apply(element, wanted);
  }
}

/** @param {boolean} is */
function down(is) {
  const notice = document.getElementById("down");
  if (!notice) return;
  notice.textContent = is ? notice.dataset.text ?? "" : "";
  notice.hidden = !is;
}

/** @param {boolean} [lost] */
function show(lost = false) {
  const button = document.getElementById("live");
  const text = button?.querySelector("span");
  if (!button || !text) return;
  button.setAttribute("aria-pressed", String(!paused));
  button.classList.toggle("lost", lost && !paused);
  text.textContent = (paused ? button.dataset.off : lost ? button.dataset.lost : button.dataset.on) ?? "";
}
