// @ts-check
/**
 * A field that a person types into: what is half typed is theirs.
 *
 * @module
 */

import { element } from "./dom.js";

export class TypedField {
  /** What the field shows when nobody is typing. */
  #known = "";
  #typing = false;

  /**
   * @param {Record<string, string | boolean | null>} attributes
   * @param {(value: string) => void} typed Called with what is whole.
   */
  constructor(attributes, typed) {
    this.input = element("input", attributes);
    this.input.addEventListener("input", () => (this.#typing = true));
    this.input.addEventListener("change", () => {
      // Half of a time.
      if (!this.input.validity.valid) return;
      this.#typing = false;
      this.#known = this.input.value;
      typed(this.#known);
    });
    this.input.addEventListener("blur", () => {
      const { activeElement } = /** @type {Document | ShadowRoot} */ (this.input.getRootNode());
      // Another window has the focus: the person may come back and go on.
      if (activeElement === this.input) return;
      this.#typing = false;
      this.show(this.#known);
    });
  }

  /** @param {string} value What is known now; it waits while somebody is typing. */
  show(value) {
    this.#known = value;
    if (!this.#typing && this.input.value !== value) this.input.value = value;
  }
}
