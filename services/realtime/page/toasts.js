// @ts-check
/**
 * Short notes in the corner for what has just arrived.
 *
 * A critical one stays until it is dismissed. The others leave by themselves, but not while somebody points at
 * them, has the focus in them, or looks at another tab. Nothing is lost with a toast: the inbox has it all.
 *
 * @module
 */

import { button, element, focusSoon, setLanguage } from "./dom.js";
import { actionButtons } from "./entry-actions.js";
import { chips, mark, tone, wantsAcknowledgement } from "./entry.js";
import { icon } from "./icons.js";

/** @import { Press } from "./entry-actions.js" */
/** @import { EntryActions } from "./entry.js" */
/** @import { Language } from "./labels.js" */
/** @import { InboxNotification } from "./types.js" */

const STAY_MS = 7_000;
/** As many as leave something of the page to be seen. */
const VISIBLE_LIMIT = 4;
const VISIBLE_LIMIT_PHONE = 2;
const PHONE = globalThis.matchMedia?.("(max-width: 480px)");
/** Critical ones that wait for room; more than this nobody dismisses by hand. */
const WAITING_LIMIT = 50;

/**
 * @typedef {object} Toast
 * @property {InboxNotification} notification
 * @property {HTMLElement} element
 * @property {boolean} stays
 * @property {number} left_ms
 * @property {number} since_ms
 * @property {ReturnType<typeof setTimeout> | undefined} timer
 */

export class Toasts {
  /** @type {Toast[]} Newest first. */
  #shown = [];
  /** @type {InboxNotification[]} */
  #waiting = [];
  /** @type {Set<string>} Why nothing leaves at the moment. */
  #holds = new Set();
  #language;
  #labels;
  #actions;
  #more = element("p", { class: "more" });
  #stopWatching = new AbortController();

  /**
   * @param {Language} language
   * @param {EntryActions} actions
   */
  constructor(language, actions) {
    const labels = language.inbox;
    this.#labels = labels;
    this.#actions = actions;
    // In the top layer neither a transformed header nor a z-index of the page can hide or move it.
    this.element = element("div", { class: "toasts", popover: "manual", role: "region", "aria-label": labels.toasts });
    this.element.lang = language.tag;
    this.#language = language;
    this.element.append(this.#more);
    this.#holdWhile("pointer", this.element, "pointerenter", "pointerleave");
    this.#holdWhile("focus", this.element, "focusin", "focusout");
    document.addEventListener("visibilitychange", () => this.#hold("hidden", document.hidden), {
      signal: this.#stopWatching.signal,
    });
    this.#hold("hidden", document.hidden);
  }

  /** The ids of those that are shown or wait for room. */
  get ids() {
    return [...this.#shown.map(({ notification }) => notification.id), ...this.#waiting.map(({ id }) => id)];
  }

  get #isFull() {
    return this.#shown.length >= (PHONE?.matches ? VISIBLE_LIMIT_PHONE : VISIBLE_LIMIT);
  }

  /** @param {InboxNotification} notification */
  show(notification) {
    if (this.#isFull) {
      const leaving = this.#shown.filter((toast) => !toast.stays).at(-1);
      if (leaving) {
        this.#remove(leaving);
      } else {
        if (notification.priority === "critical" && this.#waiting.length < WAITING_LIMIT) {
          this.#waiting.push(notification);
          this.#arrange();
        }
        return;
      }
    }
    const toast = this.#build(notification);
    this.#shown.unshift(toast);
    this.element.prepend(toast.element);
    this.#arrange();
    if (this.#holds.size === 0) this.#run(toast);
  }

  /**
   * Take away the toast of a notification that was dealt with.
   *
   * @param {string} id
   */
  dismiss(id) {
    this.#waiting = this.#waiting.filter((notification) => notification.id !== id);
    const toast = this.#shown.find(({ notification }) => notification.id === id);
    if (toast) this.#remove(toast);
    const next = this.#isFull ? undefined : this.#waiting.shift();
    if (next) this.show(next);
    this.#arrange();
  }

  /** Take away those that would leave by themselves, because their text is in view elsewhere. */
  clearPassing() {
    for (const { notification, stays } of [...this.#shown]) if (!stays) this.dismiss(notification.id);
  }

  /** Remove all and let go of the document. */
  close() {
    this.#stopWatching.abort();
    this.#waiting = [];
    for (const toast of [...this.#shown]) this.#remove(toast);
    this.element.remove();
  }

  /**
   * @param {InboxNotification} notification
   * @returns {Toast}
   */
  #build(notification) {
    const labels = this.#labels;
    const open = () => {
      this.dismiss(notification.id);
      this.#actions.open(notification);
    };
    // A long title is cut here; its whole text is the button's name.
    const opener = button(notification.title, "open", open, element("span", { class: "title" }, notification.title));
    const content = element(
      "div",
      { class: "content" },
      opener,
      element("p", { class: "message" }, notification.message),
      element("div", { class: "meta" }, ...chips(notification, labels)),
    );
    /** @type {Press} */
    const press = (action, event) => this.#actions.press(notification, action, event);
    const choices = actionButtons(notification, labels, press);
    if (choices.length > 0) content.append(element("div", { class: "choices" }, ...choices));
    if (wantsAcknowledgement(notification)) {
      const acknowledge = () => this.#actions.acknowledge(notification);
      const seen = button(labels.acknowledge, "primary acknowledge", acknowledge);
      content.append(element("div", { class: "actions" }, seen));
    }
    const made = element(
      "article",
      { class: "toast", "data-tone": tone(notification), part: "toast" },
      mark(notification),
      content,
      button(labels.dismiss, "quiet dismiss", () => this.dismiss(notification.id), icon("close")),
    );
    // Each toast and not all together: in which corner they stand is the page's affair.
    setLanguage(made, this.#language);
    made.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.dismiss(notification.id);
    });
    const stays = notification.priority === "critical";
    return { notification, element: made, stays, left_ms: STAY_MS, since_ms: 0, timer: undefined };
  }

  /** @param {Toast} toast */
  #run(toast) {
    if (toast.stays) return;
    toast.since_ms = performance.now();
    toast.timer = setTimeout(() => this.dismiss(toast.notification.id), toast.left_ms);
  }

  /** @param {Toast} toast */
  #remove(toast) {
    clearTimeout(toast.timer);
    this.#shown = this.#shown.filter((other) => other !== toast);
    const focused = toast.element.matches(":focus-within");
    toast.element.remove();
    if (focused) focusSoon(this.#shown[0]?.element.querySelector("button"));
    // An element that vanishes under the pointer or the focus says nothing about it.
    if (this.#shown.length === 0) this.#holds.delete("pointer");
    if (!this.element.matches(":focus-within")) this.#hold("focus", false);
  }

  #arrange() {
    this.#more.textContent = this.#waiting.length ? this.#labels.moreToasts(this.#waiting.length) : "";
    const open = this.element.matches(":popover-open");
    if (this.#shown.length > 0 && !open && this.element.isConnected) this.element.showPopover();
    else if (this.#shown.length === 0 && open) this.element.hidePopover();
  }

  /**
   * @param {string} why
   * @param {HTMLElement} target
   * @param {string} begin
   * @param {string} end
   */
  #holdWhile(why, target, begin, end) {
    target.addEventListener(begin, () => this.#hold(why, true));
    target.addEventListener(end, () => this.#hold(why, false));
  }

  /**
   * @param {string} why
   * @param {boolean} on
   */
  #hold(why, on) {
    const held = this.#holds.size > 0;
    if (on) this.#holds.add(why);
    else this.#holds.delete(why);
    if (held === this.#holds.size > 0) return;
    for (const toast of this.#shown) {
      if (held) {
        this.#run(toast);
      } else if (!toast.stays) {
        clearTimeout(toast.timer);
        toast.left_ms -= performance.now() - toast.since_ms;
      }
    }
  }
}
