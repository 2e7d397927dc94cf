// @ts-check
/**
 * What the elements need of a browser while their modules are imported.
 *
 * A server that renders pages imports these modules, too. It has no elements and makes none: there nothing is defined.
 *
 * @module
 */

/** What an element extends. */
export const ElementBase = /** @type {typeof HTMLElement} */ (globalThis.HTMLElement ?? class {});

/**
 * Define an element, unless another copy of its module has done so in this page.
 *
 * @param {string} name
 * @param {CustomElementConstructor} element
 */
export function define(name, element) {
  const registry = globalThis.customElements;
  if (registry && !registry.get(name)) registry.define(name, element);
}

/**
 * @param {string} css
 * @returns {CSSStyleSheet}
 */
export function styleSheet(css) {
  if (!globalThis.CSSStyleSheet) return /** @type {CSSStyleSheet} */ ({});
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(css);
  return sheet;
}
