// @ts-check
/**
 * `<carillon-inbox>`: a bell with the number of unread notifications, the inbox behind it, and toasts.
 *
 * Everything it shows of a notification is text, never markup, and it works under
 * `default-src 'self'; style-src 'self'; script-src 'self'`. It follows no link: it says what was opened, and the
 * page decides.
 *
 * Attributes: `url`, `token`, `theme` ("light" or "dark"), `no-toasts`. Properties: `url`, `token`, `getToken`,
 * `labels`, `open`; read-only `client`, `unread`. Events, all bubbling: `carillon-notification`, `carillon-open`
 * (cancelable), `carillon-acknowledged` (detail: the notification), `carillon-unread`, `carillon-state`, `carillon-status`,
 * `carillon-unauthenticated`.
 *
 * @module
 */

import { CarillonClient } from "./carillon.js";
import { button, element } from "./dom.js";
import { icon } from "./icons.js";
import { InboxList } from "./inbox-list.js";
import { INBOX_STYLE } from "./inbox-style.js";
import { LABELS } from "./labels.js";
import { StatusBanner } from "./status-banner.js";
import { Toasts } from "./toasts.js";

/** @import { TokenSource } from "./api.js" */
/** @import { EntryActions } from "./entry.js" */
/** @import { Labels } from "./labels.js" */
/** @import { InboxNotification, InboxState, StateChange } from "./types.js" */

const TICK_MS = 30_000;
/** Several changes made elsewhere come as several counts; one re-read answers them all. */
const REREAD_AFTER_MS = 300;
const BADGE_LIMIT = 99;
const ANNOUNCEMENTS_KEPT = 5;
/** @type {[keyof Labels & ("all" | "unread" | "archived"), InboxState | undefined][]} */
const VIEWS = [
  ["all", undefined],
  ["unread", "unread"],
  ["archived", "archived"],
];

export class CarillonInbox extends HTMLElement {
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
  #status = new StatusBanner();
  #placement = new CSSStyleSheet();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #reread;
  /** @type {AbortController | null} */
  #listening = null;

  #badge = element("span", { class: "badge", part: "badge", "aria-hidden": "true" });
  #bell = button("", "bell", () => (this.open = !this.open), icon("bell"));
  #connection = element("span", { class: "connection", "data-state": "idle", role: "status" });
  #heading = element("h2", { id: "heading" });
  #markAll = button("", "quiet mark-all", () => void this.#markAllRead());
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

  constructor() {
    super();
    const shadow = this.attachShadow({ mode: "open" });
    shadow.adoptedStyleSheets = [INBOX_STYLE, this.#placement];
    this.#bell.setAttribute("part", "bell");
    this.#bell.setAttribute("aria-haspopup", "dialog");
    this.#bell.setAttribute("aria-controls", "panel");
    this.#bell.append(this.#badge);
    const top = element("header", {}, this.#heading, this.#connection, this.#markAll, this.#close);
    this.#panel.append(top, this.#views, this.#status.element, this.#trouble);
    shadow.append(this.#bell, this.#panel, this.#polite, this.#assertive);
    shadow.addEventListener("keydown", (event) => this.#key(/** @type {KeyboardEvent} */ (event)));
    this.#name();
    this.#showUnread();
    this.#showOpen();
  }

  connectedCallback() {
    // A framework may have set properties on the element before this class was loaded.
    for (const property of ["url", "token", "getToken", "labels"]) this.#adopt(property);
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    document.addEventListener("pointerdown", (event) => this.#outside(event), { signal });
    addEventListener("resize", () => this.#place(), { signal });
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

  /** Where the realtime service answers; the page's own origin when empty. */
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
    this.#name();
    this.#restart();
  }

  /** Whether the panel is shown. */
  get open() {
    return this.#panel.matches(":popover-open");
  }

  set open(open) {
    if (open === this.open || (open && !this.isConnected)) return;
    if (open) this.#enter();
    else this.#panel.hidePopover();
    this.#showOpen();
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
    this.#panel.append(list.element);
    this.shadowRoot?.append(this.#toasts.element);
    client.on("state", (change) => this.#showState(change));
    client.on("unread", ({ unread }) => this.#counted(unread));
    client.on("notification", ({ notification }) => this.#arrived(notification));
    client.on("status", (status) => {
      this.#status.show(status);
      this.#say("carillon-status", status);
    });
    client.on("gap", () => void this.#reloadAfterGap());
    client.on("hello", () => void (list.stale && list.load()));
    client.on("unauthenticated", (detail) => this.#say("carillon-unauthenticated", detail));
    // First the inbox and then the stream: what is in the list already is no news and gets no toast.
    await list.load();
    if (client === this.#client) client.connect();
  }

  #stop() {
    clearTimeout(this.#reread);
    this.#client?.close();
    this.#list?.close();
    this.#toasts?.close();
    this.#status.clear();
    this.#client = this.#list = this.#toasts = null;
    this.#showState({ state: "idle", transport: null, wait_ms: null, code: null });
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
  async #archive(notification) {
    if (!(await this.#try((client) => client.archive(notification.id)))) return;
    this.#list?.remove(notification.id);
    this.#toasts?.dismiss(notification.id);
  }

  /** @param {InboxNotification} notification */
  async #acknowledge(notification) {
    const { alert } = notification;
    if (!alert || !(await this.#try((client) => client.acknowledge(alert.id)))) return;
    this.#list?.update(notification.id, { alert: { ...alert, requires_acknowledgment: false } });
    this.#toasts?.dismiss(notification.id);
    void this.#mark(notification, true);
    this.#announce(`${this.#labels.acknowledged}: ${notification.title}`, false);
    this.#say("carillon-acknowledged", notification);
  }

  async #markAllRead() {
    if (!(await this.#try((client) => client.markAllRead()))) return;
    this.#list?.updateAll({ read: true });
    this.#setUnread(0);
  }

  /** @param {(client: CarillonClient) => Promise<void>} request */
  async #try(request) {
    this.#trouble.textContent = "";
    try {
      if (this.#client) await request(this.#client);
      return this.#client !== null;
    } catch {
      this.#trouble.textContent = this.#labels.failed;
      if (!this.open) this.#announce(this.#labels.failed, true);
      return false;
    }
  }

  /** @param {InboxNotification} notification */
  #arrived(notification) {
    this.#list?.add(notification);
    const critical = notification.priority === "critical";
    // With the list in view, a second copy in the corner is noise, unless somebody must act on it.
    if (!notification.read && !this.hasAttribute("no-toasts") && (critical || !this.open)) {
      this.#toasts?.show(notification);
    }
    this.#announce(`${notification.title}. ${notification.message}`, critical);
    this.#say("carillon-notification", notification);
  }

  async #reloadAfterGap() {
    const missed = (await this.#list?.load()) ?? [];
    for (const notification of missed.reverse()) {
      if (!notification.read && notification.priority === "critical") this.#toasts?.show(notification);
    }
  }

  /** @param {number} unread */
  #counted(unread) {
    // Fewer than are shown here: somebody read some in another window or on another device.
    if (unread < this.#unread && this.#list) {
      this.#list.stale = true;
      clearTimeout(this.#reread);
      if (this.open) this.#reread = setTimeout(() => void this.#list?.load(), REREAD_AFTER_MS);
    }
    this.#setUnread(unread);
  }

  /** @param {number} unread */
  #setUnread(unread) {
    if (unread === this.#unread) return;
    this.#unread = Math.max(0, unread);
    this.#showUnread();
    this.#say("carillon-unread", { unread: this.#unread });
  }

  #showUnread() {
    this.#badge.textContent = this.#unread > BADGE_LIMIT ? `${BADGE_LIMIT}+` : String(this.#unread);
    this.#badge.hidden = this.#unread === 0;
    this.#bell.setAttribute("aria-label", this.#labels.bell(this.#unread));
    this.#markAll.disabled = this.#unread === 0;
  }

  /** @param {StateChange} change */
  #showState(change) {
    this.#connection.dataset.state = change.state;
    this.#connection.textContent = this.#labels.states[change.state];
    this.#say("carillon-state", change);
  }

  #showOpen() {
    this.#bell.setAttribute("aria-expanded", String(this.open));
  }

  #enter() {
    this.#place();
    this.#panel.showPopover();
    this.#panel.focus({ preventScroll: true });
    this.#toasts?.clearPassing();
    this.#list?.tick();
    if (this.#list?.stale) void this.#list.load();
  }

  #leave() {
    this.open = false;
    this.#bell.focus();
  }

  /** Put the panel under the bell. A rule in a sheet, since a content security policy may refuse style attributes. */
  #place() {
    const { bottom, right } = this.#bell.getBoundingClientRect();
    const width_px = document.documentElement.clientWidth;
    this.#placement.replaceSync(`.panel { --_top: ${bottom + 8}px; --_right: ${Math.max(8, width_px - right)}px; }`);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key === "Escape" && this.open) {
      event.stopPropagation();
      this.#leave();
    }
  }

  /** @param {Event} event */
  #outside(event) {
    if (this.open && !event.composedPath().includes(this)) this.open = false;
  }

  /**
   * Tell people who do not see the screen. Added nodes are read out; the last few stay so that none is cut short.
   *
   * @param {string} text
   * @param {boolean} urgent
   */
  #announce(text, urgent) {
    const region = urgent ? this.#assertive : this.#polite;
    region.append(element("p", {}, text));
    while (region.childElementCount > ANNOUNCEMENTS_KEPT) region.firstElementChild?.remove();
  }

  #name() {
    const labels = this.#labels;
    this.#heading.textContent = labels.title;
    this.#markAll.textContent = labels.markAllRead;
    this.#close.setAttribute("aria-label", labels.close);
    this.#close.title = labels.close;
    this.#views.setAttribute("aria-label", labels.views);
    this.#views.replaceChildren(...VIEWS.map(([name, view]) => this.#viewButton(labels[name], view)));
  }

  /**
   * @param {string} label
   * @param {InboxState | undefined} view
   */
  #viewButton(label, view) {
    const made = button(label, "view", () => {
      for (const other of this.#views.children) other.setAttribute("aria-pressed", String(other === made));
      void this.#list?.show(view);
    });
    made.setAttribute("aria-pressed", String(view === undefined));
    return made;
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

customElements.define("carillon-inbox", CarillonInbox);
