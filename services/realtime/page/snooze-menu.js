// @ts-check
/**
 * The menu that asks until when an entry is put away.
 *
 * @module
 */

import { element, setLanguage } from "./dom.js";
import { snoozeTimes } from "./snooze-times.js";

/** @import { Language } from "./labels.js" */

/** Between the menu and its button, and between the menu and the edge of the window. */
const GAP_PX = 6;

export class SnoozeMenu {
  /** Where the position is written. A content security policy may refuse style attributes. */
  placement = new CSSStyleSheet();

  #language;
  /** @type {HTMLElement | null} The button that opened it. */
  #opener = null;

  /** @param {Language} language */
  constructor(language) {
    this.#language = language;
    // Of the top layer, so that the list it belongs to does not cut it off; it closes by itself when somebody clicks elsewhere.
    this.element = element("div", { class: "menu", part: "menu", role: "menu", popover: "auto" });
    this.element.setAttribute("aria-label", language.inbox.snoozeUntil);
    setLanguage(this.element, language);
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.element.addEventListener("toggle", (event) => {
      if (/** @type {ToggleEvent} */ (event).newState === "closed") this.#opener?.setAttribute("aria-expanded", "false");
    });
  }

  /**
   * Open it at a button.
   *
   * @param {HTMLElement} opener
   * @param {(at_s: number) => void} choose Gets epoch seconds.
   */
  open(opener, choose) {
    const { inbox, times } = this.#language;
    const items = snoozeTimes().map(({ name, at_s }) => {
      const when = element("span", { class: "when" }, times.upcoming(at_s));
      const item = element("button", { type: "button", class: "item", role: "menuitem", tabindex: "-1" });
      item.append(element("span", {}, inbox.snoozeChoices[name]), when);
      item.addEventListener("click", () => {
        this.close();
        choose(at_s);
      });
      return item;
    });
    this.element.replaceChildren(...items);
    this.#opener = opener;
    this.element.showPopover();
    opener.setAttribute("aria-expanded", "true");
    this.#place(opener);
    items[0]?.focus({ preventScroll: true });
  }

  close() {
    if (this.element.isConnected && this.element.matches(":popover-open")) this.element.hidePopover();
  }

  /**
   * Under the button, ending where it ends; above it where there is no room below.
   *
   * @param {HTMLElement} opener
   */
  #place(opener) {
    const button = opener.getBoundingClientRect();
    const { clientWidth: width_px, clientHeight: height_px } = document.documentElement;
    const { offsetWidth: menu_px, offsetHeight: high_px } = this.element;
    const isRtl = getComputedStyle(this.element).direction === "rtl";
    const wanted_px = isRtl ? button.left : button.right - menu_px;
    const left_px = Math.max(GAP_PX, Math.min(wanted_px, width_px - menu_px - GAP_PX));
    const below_px = button.bottom + GAP_PX;
    const fits = below_px + high_px + GAP_PX <= height_px;
    const top_px = Math.max(GAP_PX, fits ? below_px : button.top - GAP_PX - high_px);
    this.placement.replaceSync(`.menu { top: ${top_px}px; left: ${left_px}px; }`);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const items = /** @type {HTMLElement[]} */ ([...this.element.children]);
    const at = items.findIndex((item) => item.matches(":focus"));
    const last = items.length - 1;
    const to = { ArrowDown: at < last ? at + 1 : 0, ArrowUp: at > 0 ? at - 1 : last, Home: 0, End: last }[event.key];
    // No key of the menu is one of the panel's.
    event.stopPropagation();
    if (to !== undefined) {
      event.preventDefault();
      items[to]?.focus();
    } else if (event.key === "Escape" || event.key === "Tab") {
      event.preventDefault();
      this.close();
      this.#opener?.focus({ preventScroll: true });
    }
  }
}
