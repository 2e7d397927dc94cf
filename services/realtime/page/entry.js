// @ts-check
/**
 * How one notification looks: its tone, its marks, its row in the list.
 *
 * @module
 */

import { categoryTitle } from "./category-tabs.js";
import { arrange, button, element, focusSoon } from "./dom.js";
import { actionButtons, webAddress } from "./entry-actions.js";
import { icon } from "./icons.js";

/** @import { Labels, Language } from "./labels.js" */
/** @import { Press } from "./entry-actions.js" */
/** @import { Action, Alert, InboxNotification } from "./types.js" */

/**
 * What a person can do with an entry.
 *
 * @typedef {object} EntryActions
 * @property {(notification: InboxNotification) => void} open
 * @property {(notification: InboxNotification) => void} archive
 * @property {(notification: InboxNotification) => void} markUnread
 * @property {(notification: InboxNotification) => void} acknowledge
 * @property {(notification: InboxNotification, action: Action, event: Event) => Promise<void>} press
 * @property {(notification: InboxNotification, button: HTMLElement) => void} snooze
 * @property {(notification: InboxNotification) => void} bringBack
 */

/** @param {InboxNotification} notification */
export function tone({ priority, type }) {
  if (priority === "critical" || type === "error") return "critical";
  if (type === "warning" || priority === "high") return "warning";
  return type === "success" ? "success" : "info";
}

/** @param {InboxNotification} notification */
export function mark(notification) {
  const name = notification.alert && notification.type === "info" ? "alert" : notification.type;
  return element("span", { class: "mark" }, icon(name));
}

/**
 * Type and priority in words, so that neither rests on colour alone.
 *
 * @param {InboxNotification} notification
 * @param {Labels} labels
 */
export function chips({ type, priority, category }, labels) {
  const kind = type === "info" ? "" : Object.hasOwn(labels.types, type) ? labels.types[type] : type;
  const words = [labels.priorities[priority] ?? "", kind, category ? categoryTitle(category, labels) : ""];
  return words.filter((word) => word).map((word) => element("span", { class: "chip" }, String(word)));
}

/**
 * Whether somebody still has to take this alert.
 *
 * @param {InboxNotification} notification
 */
export function wantsAcknowledgement({ alert }) {
  return Boolean(alert?.requires_acknowledgment) && (alert?.state ?? "open") === "open";
}

/**
 * Whether an entry is put away until a time to come.
 *
 * @param {InboxNotification} notification
 */
export function isSnoozed({ snoozed_until: until_s }) {
  return until_s !== undefined && until_s > Date.now() / 1000;
}

/**
 * The link that a notification brings in `data.url`, or null.
 *
 * @param {InboxNotification} notification
 */
export function link({ data }) {
  const url = webAddress(data?.url);
  // The host is the text, so that nobody is told of one place and led to another.
  return url && element("a", { class: "link", href: url.href, target: "_blank", rel: "noopener noreferrer" }, url.host);
}

/**
 * Where an alert comes from and what it is about, as far as its publisher has said.
 *
 * @param {InboxNotification} notification
 * @param {Labels} labels
 */
export function about({ alert }, labels) {
  const systems = alert?.affected_systems ?? [];
  const said = [
    ...(alert?.source ? [`${labels.source}: ${alert.source}`] : []),
    ...(systems.length > 0 ? [`${labels.systems}: ${systems.join(", ")}`] : []),
  ];
  return said.length > 0 ? [element("p", { class: "about" }, said.join(" · "))] : [];
}

/**
 * How an alert was answered, in words.
 *
 * @param {Alert} alert
 * @param {Language} language
 */
function answered({ state, acknowledged_by, acknowledged_at }, { inbox, times }) {
  const words = inbox.alertStates[state ?? "open"];
  if (!acknowledged_by || acknowledged_at === undefined) return words;
  const taken = inbox.acknowledgedBy(acknowledged_by, times.relative(acknowledged_at));
  return state === "acknowledged" ? taken : `${words} · ${taken}`;
}

/** One row. It shows what it is given and reports what is clicked; it changes nothing by itself. */
export class EntryRow {
  #language;
  #time = element("time");
  #state = element("span", { class: "hidden-text" });
  #buttons = element("div", { class: "actions" });
  #choices = element("div", { class: "choices" });
  #shownChoices = "";
  #comesBack = element("p", { class: "comes-back" });
  #acknowledge;
  #acknowledged = element("span", { class: "acknowledged" });
  #markUnread;
  #archive;
  #snooze;
  #bringBack;
  #opener;
  #actions;

  /**
   * @param {InboxNotification} notification
   * @param {Language} language
   * @param {EntryActions} actions
   */
  constructor(notification, language, actions) {
    this.notification = notification;
    this.#language = language;
    const labels = language.inbox;
    this.#actions = actions;
    this.#acknowledge = button(labels.acknowledge, "primary acknowledge", () => actions.acknowledge(this.notification));
    const markUnread = () => actions.markUnread(this.notification);
    this.#markUnread = button(labels.markUnread, "quiet mark-unread", markUnread, icon("unread"));
    const archive = () => actions.archive(this.notification);
    this.#archive = button(labels.archive, "quiet archive", archive, icon("archive"));
    const snooze = () => actions.snooze(this.notification, this.#snooze);
    this.#snooze = button(labels.snooze, "quiet snooze", snooze, icon("snooze"));
    this.#snooze.setAttribute("aria-haspopup", "menu");
    this.#snooze.setAttribute("aria-expanded", "false");
    const bringBack = () => actions.bringBack(this.notification);
    this.#bringBack = button(labels.bringBack, "quiet bring-back", bringBack, icon("back"));
    this.#opener = element("button", { type: "button", class: "open", "aria-expanded": "false" }, this.#state);
    this.#opener.append(element("span", { class: "title" }, notification.title));
    this.#time.dateTime = new Date(notification.timestamp * 1000).toISOString();
    this.#time.title = language.times.full(notification.timestamp);
    const url = link(notification);
    this.element = element(
      "li",
      { class: "entry", "data-tone": tone(notification), part: "entry" },
      mark(notification),
      element(
        "div",
        { class: "content" },
        this.#opener,
        element("p", { class: "message" }, notification.message),
        ...about(notification, labels),
        ...(url ? [url] : []),
        this.#choices,
        this.#comesBack,
        element("div", { class: "meta" }, ...chips(notification, labels), this.#time),
        this.#buttons,
      ),
    );
    // The whole row is a target for the pointer; the title alone is one for the keyboard.
    this.element.addEventListener("click", (event) => {
      // By the way it came: a button that was pressed may have left the row by now.
      const elsewhere = event.composedPath().some((node) => node === this.#buttons || node === this.#choices || node === url);
      if (!elsewhere && !getSelection()?.toString()) this.#open();
    });
    this.update({});
    this.tick();
  }

  /** @param {Partial<InboxNotification>} change */
  update(change) {
    this.notification = { ...this.notification, ...change };
    const labels = this.#language.inbox;
    const { read, alert } = this.notification;
    this.element.toggleAttribute("data-unread", !read);
    this.#state.textContent = read ? "" : `${labels.unread}: `;
    /** @type {Element[]} */
    const shown = [];
    if (wantsAcknowledgement(this.notification)) {
      shown.push(this.#acknowledge);
    } else if (alert?.requires_acknowledgment) {
      this.#acknowledged.replaceChildren(icon("check"), answered(alert, this.#language));
      shown.push(this.#acknowledged);
    }
    const snoozed = isSnoozed(this.notification);
    if (snoozed) shown.push(this.#bringBack);
    else if (read) shown.push(this.#markUnread);
    // An alert that nobody took is not to be put off: the next people would be told in the meantime.
    if (!wantsAcknowledgement(this.notification)) shown.push(this.#snooze);
    shown.push(this.#archive);
    const when = this.#language.times.upcoming(this.notification.snoozed_until ?? 0);
    this.#comesBack.replaceChildren(...(snoozed ? [icon("snooze"), labels.comesBack(when)] : []));
    this.#comesBack.hidden = !snoozed;
    this.#showChoices();
    // A button that was pressed may be gone now; the focus stays in the entry.
    const focused = this.#buttons.matches(":focus-within");
    arrange(this.#buttons, shown);
    if (focused && !this.#buttons.matches(":focus-within")) focusSoon(this.#opener);
  }

  #showChoices() {
    const { actions, acted } = this.notification;
    // Made anew when they change alone: the one that has the focus keeps it.
    const state = JSON.stringify([actions ?? [], acted]);
    if (this.#shownChoices === state) return;
    this.#shownChoices = state;
    const focused = this.#choices.matches(":focus-within");
    /** @type {Press} */
    const press = (action, event) => this.#actions.press(this.notification, action, event);
    this.#choices.replaceChildren(...actionButtons(this.notification, this.#language.inbox, press));
    if (focused) focusSoon(this.#opener);
  }

  /** Bring "5 minutes ago" up to date. */
  tick() {
    this.#time.textContent = this.#language.times.relative(this.notification.timestamp);
  }

  focus() {
    this.#opener.focus();
  }

  #open() {
    const expanded = this.element.toggleAttribute("data-expanded");
    this.#opener.setAttribute("aria-expanded", String(expanded));
    this.#actions.open(this.notification);
  }
}
