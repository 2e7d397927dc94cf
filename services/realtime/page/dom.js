// @ts-check
/**
 * Elements without markup strings: all text becomes text nodes, so no notification can bring HTML along.
 *
 * @module
 */

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string | boolean | null>} [attributes] True sets an empty attribute, null and false none.
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (typeof value === "string") made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/**
 * Say which language an element is in, and which way that runs.
 *
 * @param {HTMLElement} target
 * @param {{tag: string, direction: "ltr" | "rtl" | null}} language A direction of null is the one around the element.
 */
export function setLanguage(target, { tag, direction }) {
  target.lang = tag;
  if (direction) target.dir = direction;
  else target.removeAttribute("dir");
}

/**
 * Give the focus to an element once the present event is over: within it, the key that pressed one button would press
 * the next one, too.
 *
 * @param {HTMLElement | null | undefined} target
 */
export function focusSoon(target) {
  setTimeout(() => target?.focus({ preventScroll: true }));
}

/**
 * Give the focus to what follows from a press, once that has succeeded; whoever has gone on to something else meanwhile
 * keeps it.
 *
 * @param {Promise<boolean>} work What was begun by the press.
 * @param {() => HTMLElement | null | undefined} next
 */
export async function focusAfter(work, next) {
  const pressed = focused();
  if (!(await work)) return;
  const now = focused();
  // What was pressed may be gone; then nothing has the focus.
  if (now === pressed || now === document.body) focusSoon(next());
}

/** What has the focus, also within a shadow tree. */
function focused() {
  let found = document.activeElement ?? document.body;
  while (found.shadowRoot?.activeElement) found = found.shadowRoot.activeElement;
  return found;
}

/**
 * Make these the children of an element. Those that stay in their order are not touched, and the one that holds the focus
 * is never moved: what is taken out for a moment loses the focus, and a key that is held down on it is lost.
 *
 * @param {Element} parent
 * @param {Element[]} wanted
 */
export function arrange(parent, wanted) {
  for (const shown of [...parent.children]) if (!wanted.includes(shown)) shown.remove();
  const fixed = Math.max(0, wanted.findIndex((child) => child.matches(":focus-within")));
  let place = wanted[fixed];
  if (!place) return;
  if (place.parentElement !== parent) parent.prepend(place);
  for (const child of wanted.slice(0, fixed).reverse()) {
    if (place.previousElementSibling !== child) place.before(child);
    place = child;
  }
  place = wanted[fixed];
  for (const child of wanted.slice(fixed + 1)) {
    if (place?.nextElementSibling !== child) place?.after(child);
    place = child;
  }
}

/**
 * @param {string} label
 * @param {string} className
 * @param {() => void} act
 * @param {Node} [picture] Shown instead of the label, which then is its accessible name.
 */
export function button(label, className, act, picture) {
  const made = element("button", { type: "button", class: className }, picture ?? label);
  if (picture) {
    made.setAttribute("aria-label", label);
    made.title = label;
  }
  made.addEventListener("click", act);
  return made;
}
