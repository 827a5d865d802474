// @ts-check
/**
 * Makes an element equal to new markup with as few changes as possible, so that focus, selection, open details,
 * checked boxes and scroll positions stay. Children are matched by id where they have one, otherwise by order.
 */

/** Attributes that belong to the visitor, not to the server. @param {Element} element @returns {string[]} */
function keptBy(element) {
  if (element instanceof HTMLDetailsElement || element instanceof HTMLDialogElement) return ["open"];
  if (!(element instanceof HTMLInputElement) || element.type === "hidden") return [];
  return element.type === "checkbox" ? ["checked"] : ["value"];
}

/**
 * @param {Element} from the element in the page
 * @param {Element} to what it should be
 */
export function morph(from, to) {
  if (from.tagName !== to.tagName) {
    from.replaceWith(to);
    return;
  }
  attributes(from, to);
  // Times are written in the visitor's words by time.js; the attribute is what counts.
  if (from.tagName === "TIME" && from.textContent && from.hasAttribute("data-written")) {
    if (from.getAttribute("data-written") === to.getAttribute("datetime")) return;
    from.removeAttribute("data-written");
  }
  if (from.tagName === "TEXTAREA") return;
  children(from, to);
}

/** @param {Element} from @param {Element} to */
function attributes(from, to) {
  const kept = keptBy(from);
  for (const { name, value } of to.attributes) {
    if (!kept.includes(name) && from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && !kept.includes(name) && !isOurs(from, name)) from.removeAttribute(name);
  }
}

/** Marks that other modules have put on the element. @param {Element} element @param {string} name */
function isOurs(element, name) {
  return name === "data-written" || name === "title" && element.tagName === "TIME"
    || name === "class" && element.tagName === "TR";
}

/** @param {Element} from @param {Element} to */
function children(from, to) {
  /** @type {Map<string, Element>} */
  const byId = new Map();
  for (const child of from.children) if (child.id) byId.set(child.id, child);
  let at = from.firstChild;
  for (const wanted of [...to.childNodes]) {
    const match = find(at, wanted, byId);
    if (!match) {
      from.insertBefore(wanted, at);
      continue;
    }
    if (match === at) at = at.nextSibling;
    else from.insertBefore(match, at);
    if (match instanceof Element && wanted instanceof Element) morph(match, wanted);
    else if (match.nodeValue !== wanted.nodeValue) match.nodeValue = wanted.nodeValue;
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

/**
 * The node in the page that becomes `wanted`: the one with its id, or the next one of its kind without an id.
 * @param {ChildNode | null} at @param {Node} wanted @param {Map<string, Element>} byId
 * @returns {ChildNode | null}
 */
function find(at, wanted, byId) {
  if (wanted instanceof Element && wanted.id) return byId.get(wanted.id) ?? null;
  if (!at || at.nodeType !== wanted.nodeType) return null;
  if (at instanceof Element && (at.id || at.tagName !== /** @type {Element} */ (wanted).tagName)) return null;
  return at;
}
