// @ts-check
/**
 * `<carillon-inbox>`: a bell with the number of unread notifications, the inbox behind it, and toasts.
 *
 * Everything it shows of a notification is text, never markup, and it works under
 * `default-src 'self'; style-src 'self'; script-src 'self'`. It follows no link: it says what was opened, and the
 * page decides. docs/guides/web.md lists its attributes, properties, events and custom properties.
 *
 * @module
 */

import { BASE_STYLE } from "./base-style.js";
import { CarillonElement } from "./carillon-element.js";
import { CategoryTabs } from "./category-tabs.js";
import { define } from "./custom-element.js";
import { setLanguage } from "./dom.js";
import { isLink } from "./entry-actions.js";
import { isSnoozed, wantsAcknowledgement } from "./entry.js";
import { InboxList } from "./inbox-list.js";
import { InboxPanel } from "./inbox-panel.js";
import { INBOX_STYLE } from "./inbox-style.js";
import { SnoozeMenu } from "./snooze-menu.js";
import { Toasts } from "./toasts.js";

/** @import { CarillonClient } from "./carillon.js" */
/** @import { EntryActions } from "./entry.js" */
/** @import { Labels, Language } from "./labels.js" */
/** @import { Action, InboxNotification, InboxState, StateChange } from "./types.js" */

const TICK_MS = 30_000;
/** Several changes made elsewhere come as several counts; one re-read answers them all. */
const REREAD_AFTER_MS = 300;

export class CarillonInbox extends CarillonElement {
  static observedAttributes = ["url", "token", "locale"];

  /** Words of the page's own. @type {Partial<Labels>} */
  #ownLabels = {};
  #unread = 0;
  /** @type {CarillonClient | null} */
  #client = null;
  /** @type {InboxList | null} */
  #list = null;
  /** @type {CategoryTabs | null} */
  #tabs = null;
  /** @type {SnoozeMenu | null} */
  #menu = null;
  /** @type {Toasts | null} */
  #toasts = null;
  /** What the list shows: one view of one tab. @type {InboxState | undefined} */
  #view;
  /** Actions that were pressed and not answered yet, by notification and action. @type {Set<string>} */
  #pressing = new Set();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #reread;
  /** @type {AbortController | null} */
  #listening = null;
  #panel = new InboxPanel({
    opened: () => this.#opened(),
    closed: () => this.#menu?.close(),
    markAllRead: () => void this.#markAllRead(),
    view: (view) => this.#show(view),
  });

  constructor() {
    super();
    const shadow = this.attachShadow({ mode: "open" });
    shadow.adoptedStyleSheets = [BASE_STYLE, INBOX_STYLE, this.#panel.placement];
    shadow.append(...this.#panel.elements);
    shadow.addEventListener("keydown", (event) => this.#key(/** @type {KeyboardEvent} */ (event)));
    this.#name();
  }

  connectedCallback() {
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    document.addEventListener("pointerdown", (event) => this.#outside(event), { signal });
    addEventListener("resize", () => this.#panel.place(), { signal });
    navigator.serviceWorker?.addEventListener("message", (event) => this.#pushed(event.data), { signal });
    const ticking = setInterval(() => this.#list?.tick(), TICK_MS);
    signal.addEventListener("abort", () => clearInterval(ticking));
    super.connectedCallback();
  }

  disconnectedCallback() {
    this.#listening?.abort();
    this.open = false;
    this.stop();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    this.#panel.key(event);
    if (this.open && this.#panel.holds(event)) this.#list?.move(event);
  }

  /** @returns {Labels} */
  get labels() {
    return this.#labels;
  }

  /** Words to use instead of the language's own; those left out stay. @param {Partial<Labels>} labels */
  set labels(labels) {
    this.#ownLabels = labels;
    this.#name();
    this.restart();
  }

  /** Whether the panel is shown. */
  get open() {
    return this.#panel.open;
  }

  set open(open) {
    this.#panel.open = open;
  }

  /** The client behind the element, or null while there is no token. */
  get client() {
    return this.#client;
  }

  get unread() {
    return this.#unread;
  }

  /** @protected @override @param {CarillonClient | null} client */
  begin(client) {
    this.#client = client;
  }

  /** @protected @override */
  speak() {
    this.#name();
  }

  get #labels() {
    return { ...this.language.inbox, ...this.#ownLabels };
  }

  /** Name everything that is there without a notification. */
  #name() {
    for (const part of this.#panel.elements) setLanguage(part, this.language);
    this.#panel.name(this.#labels);
    this.#panel.showUnread(this.#unread, this.#labels);
    this.#panel.showState(this.#client?.state ?? "idle", this.#labels);
  }

  /** @protected @override @param {CarillonClient} client */
  async start(client) {
    if (client !== this.#client) return;
    const language = { ...this.language, inbox: this.#labels };
    const tabs = new CategoryTabs(language.inbox, () => this.#show(this.#view));
    const list = new InboxList(client, language, this.#actions, ({ categories }) => {
      if (!categories) return;
      tabs.state(categories);
      this.#panel.showTabs(tabs, list.element);
    });
    const menu = new SnoozeMenu(language);
    this.#tabs = tabs;
    this.#list = list;
    this.#menu = menu;
    this.#toasts = new Toasts(language, this.#actions);
    this.#panel.hold(tabs.element, list.element);
    const shadow = /** @type {ShadowRoot} */ (this.shadowRoot);
    shadow.append(this.#toasts.element, menu.element);
    shadow.adoptedStyleSheets = [BASE_STYLE, INBOX_STYLE, this.#panel.placement, menu.placement];
    client.on("state", (change) => this.#showState(change));
    client.on("unread", ({ unread }) => this.#counted(unread));
    client.on("notification", ({ notification, late }) => this.#arrived(notification, late));
    client.on("recalled", ({ id }) => this.#recalled(id));
    client.on("status", (status) => {
      this.#panel.status.show(status);
      this.#say("carillon-status", status);
    });
    client.on("error", () => this.#frameRefused());
    client.on("gap", () => void list.load());
    client.on("hello", () => void (list.stale && list.load()));
    client.on("unauthenticated", (detail) => this.#say("carillon-unauthenticated", detail));
    // First the inbox and then the stream: what is in the list already is no news and gets no toast.
    await list.load();
    if (client === this.#client) client.connect();
  }

  /** @protected @override */
  stop() {
    clearTimeout(this.#reread);
    if (!this.#client) return;
    this.#client.close();
    this.#list?.close();
    this.#toasts?.close();
    this.#tabs?.element.remove();
    this.#menu?.element.remove();
    this.#client = this.#tabs = this.#list = this.#menu = this.#toasts = null;
    this.#view = undefined;
    this.#pressing.clear();
    this.#panel.status.clear();
    this.#panel.showTrouble("");
    this.#setUnread(0);
  }

  /** @type {EntryActions} */
  #actions = {
    open: (notification) => {
      this.#toasts?.dismiss(notification.id);
      void this.#mark(notification, true);
      if (this.#say("carillon-open", notification)) this.open = true;
    },
    markUnread: (notification) => void this.#mark(notification, false),
    archive: (notification) => void this.#archive(notification),
    acknowledge: (notification) => void this.#acknowledge(notification),
    press: (notification, action, event) => this.#press(notification, action, event),
    snooze: (notification, opener) => this.#menu?.open(opener, (at_s) => void this.#snooze(notification, at_s)),
    bringBack: (notification) => void this.#bringBack(notification),
  };

  /** @param {InboxState | undefined} view */
  #show(view) {
    this.#view = view;
    const tabs = this.#tabs;
    const list = this.#list;
    if (!tabs || !list) return;
    this.#panel.showTabs(tabs, list.element);
    void list.show(view, tabs.category).then(() => this.#oneButton());
  }

  /**
   * Show a change at once, and take it back if the server does not agree.
   *
   * @param {InboxNotification} notification
   * @param {boolean} read
   */
  async #mark(notification, read) {
    const { id } = notification;
    // A toast does not hear of what was done in the list meanwhile.
    const known = this.#list?.get(id) ?? notification;
    // What is snoozed is not counted, and comes back unread in any case.
    if (known.read === read || isSnoozed(known)) return;
    const step = read ? -1 : 1;
    this.#list?.update(id, { read });
    this.#step(notification, step);
    if (await this.#try((client) => (read ? client.markRead(id) : client.markUnread(id)))) return;
    this.#list?.update(id, { read: !read });
    this.#step(notification, -step);
  }

  /** @param {InboxNotification} notification */
  async #archive({ id }) {
    if (!(await this.#try((client) => client.archive(id)))) return;
    this.#leave(id);
  }

  /**
   * Put an entry away: it is gone once the server knows when to bring it back.
   *
   * @param {InboxNotification} notification
   * @param {number} at_s Epoch seconds.
   */
  async #snooze({ id, title }, at_s) {
    if (!(await this.#try((client) => client.snooze(id, { until: at_s })))) return;
    if (this.#view === "snoozed") this.#list?.update(id, { snoozed_until: at_s });
    else this.#leave(id);
    this.#panel.announce(`${title}. ${this.#labels.comesBack(this.language.times.upcoming(at_s))}`, false);
  }

  /** @param {InboxNotification} notification */
  async #bringBack({ id }) {
    if (!(await this.#try((client) => client.unsnooze(id)))) return;
    // Its return is told as an arrival; it is no part of this view any more.
    if (this.#view === "snoozed") this.#list?.remove(id);
  }

  /**
   * Take an entry out of everything that shows it.
   *
   * @param {string} id
   */
  #leave(id) {
    const entry = this.#list?.get(id);
    // The number on the bell comes from the server.
    if (entry && !entry.read && this.#view !== "snoozed" && this.#view !== "archived") this.#tabs?.step(entry.category, -1);
    this.#list?.remove(id);
    this.#toasts?.dismiss(id);
  }

  /** @param {string} id */
  #recalled(id) {
    this.#leave(id);
    this.#say("carillon-recalled", { id });
  }

  /**
   * @param {InboxNotification} notification
   * @param {Action} action
   * @param {Event} event
   */
  async #press(notification, action, event) {
    const { id } = notification;
    if (!this.#say("carillon-action", { notification, action })) event.preventDefault();
    if (isLink(action)) {
      // It leads there, whether or not the publisher can be told.
      void this.#client?.act(id, action.id).catch(() => undefined);
    } else {
      const pressed = JSON.stringify([id, action.id]);
      if (this.#pressing.has(pressed)) return;
      this.#pressing.add(pressed);
      const told = await this.#try((client) => client.act(id, action.id));
      this.#pressing.delete(pressed);
      if (!told) return;
      this.#list?.update(id, { acted: action.id });
      this.#panel.announce(this.#labels.acted(action.label), false);
    }
    this.#toasts?.dismiss(id);
    void this.#mark(notification, true);
  }

  /**
   * Count here what the server will count, too.
   *
   * @param {InboxNotification} notification
   * @param {number} step
   */
  #step({ category }, step) {
    this.#setUnread(this.#unread + step);
    this.#tabs?.step(category, step);
  }

  /** @param {InboxNotification} notification */
  async #acknowledge(notification) {
    const { alert, id, title } = notification;
    if (!alert || !(await this.#try((client) => client.acknowledge(alert.id)))) return;
    this.#list?.update(id, { alert: { ...alert, state: "acknowledged" } });
    this.#toasts?.dismiss(id);
    void this.#mark(notification, true);
    this.#panel.announce(`${this.#labels.acknowledged}: ${title}`, false);
    this.#say("carillon-acknowledged", notification);
  }

  async #markAllRead() {
    if (!(await this.#try((client) => client.markAllRead()))) return;
    this.#list?.updateAll({ read: true });
    this.#tabs?.clear();
    this.#setUnread(0);
  }

  /**
   * @param {(client: CarillonClient) => Promise<void>} request
   * @returns {Promise<boolean>} Whether the server took it.
   */
  async #try(request) {
    this.#panel.showTrouble("");
    const client = this.#client;
    if (!client) return false;
    try {
      await request(client);
      return client === this.#client;
    } catch {
      if (client === this.#client) this.#panel.showTrouble(this.#labels.failed);
      return false;
    }
  }

  /**
   * @param {InboxNotification} notification
   * @param {boolean} late
   */
  #arrived(notification, late) {
    this.#list?.add(notification);
    if (!notification.read) this.#tabs?.step(notification.category, 1);
    if (this.#tabs && this.#list) this.#panel.showTabs(this.#tabs, this.#list.element);
    const critical = notification.priority === "critical";
    // With the list in view, a second copy in the corner is noise, unless somebody must act on it. So are a hundred
    // copies of what was missed.
    const passing = !late && !this.open;
    // An alert that stands on top of the open list has its button there.
    const inList = this.open && wantsAcknowledgement(notification) && this.#list?.get(notification.id) !== undefined;
    const silent = notification.silent === true;
    const wanted = !notification.read && !silent && !this.hasAttribute("no-toasts") && !inList;
    if (wanted && (critical || passing)) this.#toasts?.show(notification);
    if (!silent && (critical || !late)) this.#panel.announce(`${notification.title}. ${notification.message}`, critical);
    this.#say("carillon-notification", notification);
  }

  /** A change that was shown at once did not happen; which one, only the inbox can tell. */
  #frameRefused() {
    this.#panel.showTrouble(this.#labels.failed);
    void this.#list?.load();
  }

  /** @param {number} unread */
  #counted(unread) {
    // Fewer than are shown here: somebody read some in another window or on another device.
    if (unread < this.#unread && this.#list) {
      this.#list.stale = true;
      clearTimeout(this.#reread);
      const inView = this.open || (this.#toasts?.ids.length ?? 0) > 0;
      if (inView) this.#reread = setTimeout(() => void this.#catchUp(), REREAD_AFTER_MS);
    }
    this.#setUnread(unread);
  }

  /** Show what was done elsewhere: in the list, and by taking away the toasts of what was read. */
  async #catchUp() {
    await this.#list?.load();
    for (const id of this.#toasts?.ids ?? []) if (this.#list?.get(id)?.read) this.#toasts?.dismiss(id);
  }

  /** @param {number} unread */
  #setUnread(unread) {
    const shown = Math.max(0, unread);
    if (shown === this.#unread) return;
    this.#unread = shown;
    this.#panel.showUnread(shown, this.#labels);
    this.#say("carillon-unread", { unread: shown });
  }

  /** @param {StateChange} change */
  #showState(change) {
    this.#panel.showState(change.state, this.#labels);
    this.#say("carillon-state", change);
  }

  #opened() {
    this.#toasts?.clearPassing();
    this.#oneButton();
    this.#list?.tick();
    // Somebody else may have taken an alert that is still open here.
    if (this.#list?.stale || this.#list?.hasOpenAlerts) void this.#list.load().then(() => this.#oneButton());
  }

  /** Take away the toasts of alerts that have their button in the open list. */
  #oneButton() {
    if (!this.open) return;
    for (const id of this.#toasts?.ids ?? []) {
      const listed = this.#list?.get(id);
      if (listed && wantsAcknowledgement(listed)) this.#toasts?.dismiss(id);
    }
  }

  /**
   * The service worker says that a notification of the system was clicked.
   *
   * @param {{type?: string, id?: string | null} | null} message
   */
  #pushed(message) {
    if (message?.type !== "carillon-open") return;
    const notification = this.#list?.get(message.id ?? "");
    if (notification) this.#actions.open(notification);
    else this.open = true;
  }

  /** @param {Event} event */
  #outside(event) {
    if (this.open && !event.composedPath().includes(this)) this.open = false;
  }

  /**
   * @param {string} type
   * @param {unknown} detail
   * @returns {boolean} False if the page wants to handle it alone.
   */
  #say(type, detail) {
    return this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true, cancelable: true }));
  }
}

define("carillon-inbox", CarillonInbox);
