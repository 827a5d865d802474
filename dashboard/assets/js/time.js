// @ts-check
/** Writes times in the visitor's language and zone. The exact time is always in the hint. */

const page = document.documentElement.lang || "en";
/** The visitor's own variety of the page's language, for the order of day and month. */
const lang = navigator.languages.find((tag) => tag.split("-")[0] === page.split("-")[0]) ?? page;
const relative = new Intl.RelativeTimeFormat(lang, { numeric: "always", style: "narrow" });
const plan = new Intl.DateTimeFormat(lang, {
  weekday: "short", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit",
});
const exact = new Intl.DateTimeFormat(lang, { dateStyle: "medium", timeStyle: "medium" });
const full = new Intl.DateTimeFormat(lang, {
  year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit",
  fractionalSecondDigits: 3, timeZoneName: "short",
});
/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const UNITS = [["day", 86_400], ["hour", 3_600], ["minute", 60], ["second", 1]];

export function start() {
  write(document);
  setInterval(() => {
    if (!document.hidden) write(document);
  }, 1000);
}

/** Writes every time below an element. @param {ParentNode} root */
export function write(root) {
  for (const element of root.querySelectorAll("time[data-time]")) one(/** @type {HTMLTimeElement} */ (element));
}

/** @param {HTMLTimeElement} element */
function one(element) {
  const at = Date.parse(element.dateTime);
  if (Number.isNaN(at)) return;
  const how = element.dataset.time;
  const text = how === "exact" ? `${exact.format(at)} · ${ago(at)}`
    : how === "plan" ? `${plan.format(at)} · ${ago(at)}`
    : how === "since" ? length(Date.now() - at)
    : ago(at);
  if (element.textContent !== text) element.textContent = text;
  if (element.dataset.written !== element.dateTime) {
    element.dataset.written = element.dateTime;
    element.title = full.format(at);
  }
}

/** @param {number} at milliseconds since the epoch */
function ago(at) {
  const seconds = Math.round((at - Date.now()) / 1000);
  for (const [unit, size] of UNITS) {
    if (Math.abs(seconds) >= size) return relative.format(Math.trunc(seconds / size), unit);
  }
  return relative.format(0, "second");
}

/** A length of time; never negative, whatever the clocks say. @param {number} ms */
function length(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}
