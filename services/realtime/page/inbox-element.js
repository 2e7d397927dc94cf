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
import { CarillonClient } from "./carillon.js";
import { define, ElementBase } from "./custom-element.js";
import { wantsAcknowledgement } from "./entry.js";
import { InboxList } from "./inbox-list.js";
import { InboxPanel } from "./inbox-panel.js";
import { INBOX_STYLE } from "./inbox-style.js";
import { LABELS } from "./labels.js";
import { Toasts } from "./toasts.js";

/** @import { TokenSource } from "./api.js" */
/** @import { EntryActions } from "./entry.js" */
/** @import { Labels } from "./labels.js" */
/** @import { InboxNotification, StateChange } from "./types.js" */

const TICK_MS = 30_000;
/** Several changes made elsewhere come as several counts; one re-read answers them all. */
const REREAD_AFTER_MS = 300;

export class CarillonInbox extends ElementBase {
  static observedAttributes = ["url", "token"];

  /** @type {TokenSource | null} */
  #getToken = null;
  /** @type {Labels} */
  #labels = LABELS;
  #unread = 0;
  #starting = false;
  /** @type {CarillonClient | null} */
  #client = null;
  /** @type {InboxList | null} */
  #list = null;
  /** @type {Toasts | null} */
  #toasts = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #reread;
  /** @type {AbortController | null} */
  #listening = null;
  #panel = new InboxPanel({
    opened: () => this.#opened(),
    markAllRead: () => void this.#markAllRead(),
    view: (view) => void this.#list?.show(view).then(() => this.#oneButton()),
  });

  constructor() {
    super();
    const shadow = this.attachShadow({ mode: "open" });
    shadow.adoptedStyleSheets = [BASE_STYLE, INBOX_STYLE, this.#panel.placement];
    shadow.append(...this.#panel.elements);
    shadow.addEventListener("keydown", (event) => this.#key(/** @type {KeyboardEvent} */ (event)));
    this.#panel.name(this.#labels);
    this.#panel.showUnread(0, this.#labels);
    this.#panel.showState("idle", this.#labels);
  }

  connectedCallback() {
    // A framework may have set properties on the element before this class was loaded.
    for (const property of ["url", "token", "getToken", "labels"]) this.#adopt(property);
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    document.addEventListener("pointerdown", (event) => this.#outside(event), { signal });
    addEventListener("resize", () => this.#panel.place(), { signal });
    navigator.serviceWorker?.addEventListener("message", (event) => this.#pushed(event.data), { signal });
    const ticking = setInterval(() => this.#list?.tick(), TICK_MS);
    signal.addEventListener("abort", () => clearInterval(ticking));
    this.#restart();
  }

  disconnectedCallback() {
    this.#listening?.abort();
    this.open = false;
    this.#stop();
  }

  attributeChangedCallback() {
    this.#restart();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    this.#panel.key(event);
    if (this.open && this.#panel.holds(event)) this.#list?.move(event);
  }

  /** Where the realtime service answers; the root of the page's own origin when empty. */
  get url() {
    return this.getAttribute("url") ?? "";
  }

  set url(url) {
    this.setAttribute("url", url);
  }

  /** A JWT. For one that is renewed, use `getToken`. */
  get token() {
    return this.getAttribute("token") ?? "";
  }

  set token(token) {
    if (token) this.setAttribute("token", token);
    else this.removeAttribute("token");
  }

  /** Supplies the JWT whenever one is needed; goes before `token`. */
  get getToken() {
    return this.#getToken;
  }

  set getToken(source) {
    this.#getToken = source;
    this.#restart();
  }

  get labels() {
    return this.#labels;
  }

  /** The words to use; those left out stay English. */
  set labels(labels) {
    this.#labels = { ...LABELS, ...labels };
    this.#panel.name(this.#labels);
    this.#panel.showUnread(this.#unread, this.#labels);
    this.#restart();
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

  /** @param {string} property */
  #adopt(property) {
    if (!Object.hasOwn(this, property)) return;
    const self = /** @type {Record<string, unknown>} */ (/** @type {unknown} */ (this));
    const value = self[property];
    delete self[property];
    self[property] = value;
  }

  /** Start again once this turn is over, since attributes and properties are set one by one. */
  #restart() {
    if (this.#starting || !this.isConnected) return;
    this.#starting = true;
    queueMicrotask(() => {
      this.#starting = false;
      this.#stop();
      if (this.isConnected && (this.#getToken || this.token)) void this.#start();
    });
  }

  async #start() {
    const token = this.token;
    const client = new CarillonClient({ url: this.url, getToken: this.#getToken ?? (() => token) });
    const list = new InboxList(client, this.#labels, this.#actions);
    this.#client = client;
    this.#list = list;
    this.#toasts = new Toasts(this.#labels, this.#actions);
    this.#panel.hold(list.element);
    this.shadowRoot?.append(this.#toasts.element);
    client.on("state", (change) => this.#showState(change));
    client.on("unread", ({ unread }) => this.#counted(unread));
    client.on("notification", ({ notification, late }) => this.#arrived(notification, late));
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

  #stop() {
    clearTimeout(this.#reread);
    if (!this.#client) return;
    this.#client.close();
    this.#list?.close();
    this.#toasts?.close();
    this.#client = this.#list = this.#toasts = null;
    this.#panel.name(this.#labels);
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
  };

  /**
   * Show a change at once, and take it back if the server does not agree.
   *
   * @param {InboxNotification} notification
   * @param {boolean} read
   */
  async #mark({ id, read: shown }, read) {
    // A toast does not hear of what was done in the list meanwhile.
    if ((this.#list?.get(id)?.read ?? shown) === read) return;
    const step = read ? -1 : 1;
    this.#list?.update(id, { read });
    this.#setUnread(this.#unread + step);
    if (await this.#try((client) => (read ? client.markRead(id) : client.markUnread(id)))) return;
    this.#list?.update(id, { read: !read });
    this.#setUnread(this.#unread - step);
  }

  /** @param {InboxNotification} notification */
  async #archive({ id }) {
    if (!(await this.#try((client) => client.archive(id)))) return;
    this.#list?.remove(id);
    this.#toasts?.dismiss(id);
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
    const critical = notification.priority === "critical";
    // With the list in view, a second copy in the corner is noise, unless somebody must act on it. So are a hundred
    // copies of what was missed.
    const passing = !late && !this.open;
    // An alert that stands on top of the open list has its button there.
    const inList = this.open && wantsAcknowledgement(notification) && this.#list?.get(notification.id) !== undefined;
    const wanted = !notification.read && !this.hasAttribute("no-toasts") && !inList;
    if (wanted && (critical || passing)) this.#toasts?.show(notification);
    if (critical || !late) this.#panel.announce(`${notification.title}. ${notification.message}`, critical);
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
