// @ts-check
/**
 * The visible frame of `<carillon-inbox>`: the bell, the panel under it, and what is read out to those who do not
 * see the screen. It holds no notification.
 *
 * @module
 */

import { button, element, focusSoon } from "./dom.js";
import { icon } from "./icons.js";
import { StatusBanner } from "./status-banner.js";

/** @import { CategoryTabs } from "./category-tabs.js" */
/** @import { Labels } from "./labels.js" */
/** @import { ConnectionState, InboxState } from "./types.js" */

const BADGE_LIMIT = 99;
/** The width of the toasts with what is around them. */
const BESIDE_PX = 412;
/** Between the panel and the bell, and between the panel and the edge of the window. */
const GAP_PX = 8;
/** Less room than this below the bell, and the panel opens where there is more. */
const ENOUGH_PX = 320;
/** Lines kept for a screen reader that is still reading; the oldest goes first. */
const ANNOUNCEMENTS_KEPT = 5;
/** @type {["all" | "unread" | "snoozed" | "archived", InboxState | undefined][]} */
const VIEWS = [
  ["all", undefined],
  ["unread", "unread"],
  ["snoozed", "snoozed"],
  ["archived", "archived"],
];

/**
 * @typedef {object} PanelEvents
 * @property {() => void} opened
 * @property {() => void} closed
 * @property {() => void} markAllRead
 * @property {(view: InboxState | undefined) => void} view
 */

export class InboxPanel {
  status = new StatusBanner();
  /** Where the position of the panel is written. A content security policy may refuse style attributes. */
  placement = new CSSStyleSheet();

  #events;
  #badge = element("span", { class: "badge", part: "badge", "aria-hidden": "true" });
  #bell = button("", "bell", () => (this.open = !this.open), icon("bell"));
  #connection = element("span", { class: "connection", "data-state": "idle", role: "status" });
  #heading = element("h2", { id: "heading" });
  #markAll = button("", "quiet mark-all", () => this.#events.markAllRead());
  #close = button("", "quiet close", () => this.#leave(), icon("close"));
  #views = element("div", { class: "views", role: "group" });
  #trouble = element("p", { class: "trouble", role: "alert" });
  #polite = element("div", { class: "hidden-text", "aria-live": "polite" });
  #assertive = element("div", { class: "hidden-text", "aria-live": "assertive" });
  #panel = element("section", {
    class: "panel",
    part: "panel",
    id: "panel",
    popover: "manual",
    role: "dialog",
    "aria-labelledby": "heading",
    tabindex: "-1",
  });

  /** @param {PanelEvents} events */
  constructor(events) {
    this.#events = events;
    this.#bell.setAttribute("part", "bell");
    this.#bell.setAttribute("aria-haspopup", "dialog");
    this.#bell.setAttribute("aria-controls", "panel");
    this.#bell.setAttribute("aria-expanded", "false");
    this.#bell.append(this.#badge);
    const top = element("div", { class: "top" }, this.#heading, this.#connection, this.#markAll, this.#close);
    this.#panel.append(top, this.#views, this.status.element, this.#trouble);
    this.elements = [this.#bell, this.#panel, this.#polite, this.#assertive];
  }

  /**
   * @param {HTMLElement} tabs
   * @param {HTMLElement} list
   */
  hold(tabs, list) {
    this.#views.before(tabs);
    this.#panel.append(list);
  }

  get open() {
    return this.#panel.matches(":popover-open");
  }

  set open(open) {
    if (open === this.open || (open && !this.#panel.isConnected)) return;
    if (open) {
      this.#panel.showPopover();
      this.place();
      this.#panel.focus({ preventScroll: true });
      this.#events.opened();
    } else {
      this.#panel.hidePopover();
      this.#events.closed();
    }
    this.#bell.setAttribute("aria-expanded", String(open));
  }

  /**
   * Put the panel at the bell, wherever that is now, and inside the window; the toasts beside it where there is room.
   *
   * It ends where the bell ends, in the direction of the page, and opens upwards where there is no room below.
   */
  place() {
    const bell = this.#bell.getBoundingClientRect();
    const { clientWidth: width_px, clientHeight: height_px } = document.documentElement;
    const panel_px = this.#panel.offsetWidth;
    // The page's direction: the bell itself runs in that of its language.
    const host = /** @type {ShadowRoot} */ (this.#bell.getRootNode()).host ?? this.#bell;
    const isRtl = getComputedStyle(host).direction === "rtl";
    const wanted_px = isRtl ? bell.left : bell.right - panel_px;
    const left_px = Math.max(GAP_PX, Math.min(wanted_px, width_px - panel_px - GAP_PX));
    const below_px = height_px - bell.bottom;
    const upwards = below_px < ENOUGH_PX && bell.top > below_px;
    // A bell that was scrolled out of the window does not take the panel along.
    const top_px = Math.max(GAP_PX, Math.min(bell.bottom + GAP_PX, height_px - ENOUGH_PX));
    const bottom_px = Math.max(GAP_PX, Math.min(height_px - bell.top + GAP_PX, height_px - ENOUGH_PX));
    const room_px = height_px - GAP_PX - (upwards ? bottom_px : top_px);
    const at = upwards ? `--_top: auto; --_bottom: ${bottom_px}px` : `--_top: ${top_px}px; --_bottom: auto`;
    const panel = `.panel { ${at}; --_left: ${left_px}px; --_room: ${room_px}px; }`;
    this.placement.replaceSync(panel);
    const { left, right } = this.#panel.getBoundingClientRect();
    // From the edge where a line of the page's text ends, which is where the toasts are.
    const beside_px = isRtl ? right : width_px - left;
    if (!this.open || width_px - beside_px < BESIDE_PX) return;
    this.placement.replaceSync(`${panel} .panel:popover-open ~ .toasts { inset-inline-end: ${beside_px}px; }`);
  }

  /**
   * Whether a key was pressed in the panel.
   *
   * @param {Event} event
   */
  holds(event) {
    return event.composedPath().includes(this.#panel);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.key !== "Escape" || !this.open) return;
    event.stopPropagation();
    this.#leave();
  }

  /** @param {Labels} labels */
  name(labels) {
    this.#heading.textContent = labels.title;
    this.#markAll.textContent = labels.markAllRead;
    this.#close.setAttribute("aria-label", labels.close);
    this.#close.title = labels.close;
    this.#views.setAttribute("aria-label", labels.views);
    this.#views.replaceChildren(...VIEWS.map(([name, view]) => this.#viewButton(labels[name], view)));
  }

  /**
   * @param {number} unread
   * @param {Labels} labels
   */
  showUnread(unread, labels) {
    this.#badge.textContent = unread > BADGE_LIMIT ? `${BADGE_LIMIT}+` : String(unread);
    this.#badge.hidden = unread === 0;
    this.#bell.setAttribute("aria-label", labels.bell(unread));
    this.#bell.title = labels.title;
    // A disabled button has no focus, and keys would go nowhere.
    if (unread === 0 && this.#markAll.matches(":focus")) focusSoon(this.#panel);
    this.#markAll.disabled = unread === 0;
  }

  /**
   * Say which tab the list belongs to, or that there are no tabs.
   *
   * @param {CategoryTabs} tabs
   * @param {HTMLElement} list
   */
  showTabs(tabs, list) {
    const { chosenId, category } = tabs;
    if (chosenId === null) {
      list.removeAttribute("role");
      list.removeAttribute("aria-labelledby");
    } else {
      list.setAttribute("role", "tabpanel");
      list.setAttribute("aria-labelledby", chosenId);
    }
    // It reads everything, of whatever category.
    this.#markAll.hidden = category !== undefined;
  }

  /**
   * @param {ConnectionState} state
   * @param {Labels} labels
   */
  showState(state, labels) {
    this.#connection.dataset.state = state;
    this.#connection.textContent = labels.states[state];
  }

  /** @param {string} text Empty when the trouble is over. */
  showTrouble(text) {
    this.#trouble.textContent = text;
    // In a closed panel nobody would hear of it.
    if (text && !this.open) this.announce(text, true);
  }

  /**
   * Have a line read out.
   *
   * @param {string} text
   * @param {boolean} urgent
   */
  announce(text, urgent) {
    const region = urgent ? this.#assertive : this.#polite;
    region.append(element("p", {}, text));
    while (region.childElementCount > ANNOUNCEMENTS_KEPT) region.firstElementChild?.remove();
  }

  #leave() {
    this.open = false;
    this.#bell.focus();
  }

  /**
   * @param {string} label
   * @param {InboxState | undefined} view
   */
  #viewButton(label, view) {
    const made = button(label, "view", () => {
      for (const other of this.#views.children) other.setAttribute("aria-pressed", String(other === made));
      this.#events.view(view);
    });
    made.setAttribute("aria-pressed", String(view === undefined));
    return made;
  }
}
