// @ts-check
/**
 * Carillon's browser client: live notifications and the inbox of one user.
 *
 * Each notification is announced once by each client, also across reconnects: the client keeps its position (the
 * cursor), resumes from it, and drops ids it has seen. Where the server's history does not reach back that far, it
 * reads from the inbox what was missed and announces that first. What was snoozed is announced again when it comes back. What it does not promise: that a `read` sent over a
 * socket that dies in the same moment arrives. Calls over HTTP reject if they were not taken.
 *
 * @module
 */

import { CarillonError, InboxApi } from "./api.js";
import { Connection } from "./connection.js";
import { UnreadCount } from "./unread-count.js";

/** @import { TokenSource } from "./api.js" */
/** @import { ClientEvents, ClientFrame, Device, HelloFrame, InboxNotification, InboxPage } from "./types.js" */
/** @import { InboxQuery, OwnPreferences, Preferences, ServerFrame, Snooze, TransportName } from "./types.js" */

export { CarillonError };

/** Ids remembered against duplicates. A resume repeats far less. */
const SEEN_LIMIT = 1_000;
/** Entries read after a gap: the most that one page of the inbox holds. */
const MISSED_LIMIT = 100;

/**
 * @typedef {object} ClientOptions
 * @property {string} [url] Where the realtime service answers; the root of the page's own origin when left out.
 * @property {TokenSource} getToken Supplies the JWT.
 * @property {"auto" | TransportName} [transport] "auto" is WebSocket, and SSE where that does not get through.
 * @property {string} [cursorKey] Keep the position in sessionStorage under this name, across reloads. Use one name
 *   for each user. A page that reads the inbox before it connects has no need of it.
 */

export class CarillonClient extends EventTarget {
  #api;
  #connection;
  #cursorKey;
  #count = new UnreadCount();
  /** The last change of each entry that is on its way, by the entry's id. @type {Map<string, Promise<void>>} */
  #changes = new Map();
  /** What was announced, by what `announced` says. @type {Set<string>} */
  #seen = new Set();
  /** Ids of what was taken back, for a page of the inbox that was read before that. @type {Set<string>} */
  #gone = new Set();
  /** @type {string | null} */
  #cursor = null;
  /**
   * Where the stream stood when the server said hello.
   *
   * @type {string | null}
   */
  #helloCursor = null;
  /**
   * Arrivals that wait until those before them have been read, null when none do.
   *
   * @type {InboxNotification[] | null}
   */
  #held = null;
  /** What a gap swallowed could not be read yet. */
  #owing = false;

  /** @param {ClientOptions} options */
  constructor({ url = "", getToken, transport = "auto", cursorKey }) {
    super();
    this.#api = new InboxApi(url, getToken);
    this.#connection = new Connection(this.#api, transport, {
      cursor: () => this.#cursor,
      state: (change) => this.#emit("state", change),
      frame: (frame, cursor) => this.#receive(frame, cursor),
      settled: () => this.#settled(),
      unauthenticated: (code) => this.#emit("unauthenticated", { code }),
    });
    this.#cursorKey = cursorKey;
    if (cursorKey) this.#cursor = storage()?.getItem(cursorKey) ?? null;
  }

  get state() {
    return this.#connection.state;
  }

  /** The transport in use or last tried. */
  get transport() {
    return this.#connection.transport;
  }

  /** How many entries are unread, or null before the server has said. */
  get unread() {
    return this.#count.value;
  }

  /** The position in the user's stream; opaque. */
  get cursor() {
    return this.#cursor;
  }

  /**
   * Listen to an event and get its detail.
   *
   * @template {keyof ClientEvents} K
   * @param {K} type
   * @param {(detail: ClientEvents[K]) => void} listener
   * @returns {() => void} Stops listening.
   */
  on(type, listener) {
    /** @param {Event} event */
    const wrapped = (event) => listener(/** @type {CustomEvent<ClientEvents[K]>} */ (event).detail);
    this.addEventListener(type, wrapped);
    return () => this.removeEventListener(type, wrapped);
  }

  /** Go live and stay so until `close()`. Calling it twice does nothing; after a stop it tries again. */
  connect() {
    this.#connection.connect();
  }

  /** Leave. Nothing arrives after this. */
  close() {
    this.#connection.close();
    if (!this.#held) return;
    this.#held = null;
    this.#owing = true;
  }

  /**
   * Send a frame over the open WebSocket. Nothing confirms it; prefer the methods below.
   *
   * @param {ClientFrame} frame
   * @returns {boolean} False if there is no open WebSocket.
   */
  send(frame) {
    return this.#connection.send(frame);
  }

  /**
   * Read a page of the inbox, newest first. Before the first connection it also sets where the stream begins, so
   * that nothing falls between the two.
   *
   * @param {InboxQuery} [query]
   * @returns {Promise<InboxPage>}
   */
  async inbox(query) {
    const page = await this.#api.inbox(query);
    if (this.state === "idle" && !query?.before && !query?.state && query?.category === undefined) {
      this.#moveTo(page.cursor);
      for (const notification of page.notifications) this.#remember(notification);
    }
    this.#say(page.unread);
    return page;
  }

  /**
   * Mark as read. Always over HTTP: what the person undoes a moment later must not arrive before it.
   *
   * @param {string} id
   */
  async markRead(id) {
    await this.#change(id, () => this.#api.mark(id, "read"));
  }

  /** @param {string} id */
  async markUnread(id) {
    await this.#change(id, () => this.#api.mark(id, "unread"));
  }

  /** @param {string} id */
  async archive(id) {
    await this.#change(id, () => this.#api.mark(id, "archive"));
  }

  /**
   * Put an entry away; it comes back unread.
   *
   * @param {string} id
   * @param {Snooze} when
   */
  async snooze(id, when) {
    await this.#change(id, () => this.#api.snooze(id, when));
  }

  /** Let a snoozed entry come back now. @param {string} id */
  async unsnooze(id) {
    await this.#change(id, () => this.#api.unsnooze(id));
  }

  /**
   * Press an action of a notification. Always over HTTP, as `acknowledge()`; pressing it again does no harm.
   *
   * @param {string} id
   * @param {string} action The action's id.
   */
  async act(id, action) {
    await this.#api.act(id, action);
  }

  async markAllRead() {
    await Promise.all(this.#changes.values());
    await this.#change("", () => this.#api.markAllRead());
  }

  /**
   * Say "seen, mine" to an alert. Always over HTTP: a person must know that it counts, and a frame has no answer.
   *
   * @param {string} alertId The `alert.id`, not the notification's id.
   */
  async acknowledge(alertId) {
    await this.#api.acknowledge(alertId);
  }

  /** @returns {Promise<Preferences>} */
  async preferences() {
    return this.#api.preferences();
  }

  /**
   * Replace what the person chose, and return what holds then.
   *
   * @param {OwnPreferences} preferences
   */
  async setPreferences(preferences) {
    return this.#api.setPreferences(preferences);
  }

  /**
   * Let pushes come to a device; saying it again does no harm.
   *
   * @param {Device} device
   */
  async addDevice(device) {
    await this.#api.addDevice(device);
  }

  /** @param {string} token An app's token, or the endpoint of a browser's subscription. */
  async removeDevice(token) {
    await this.#api.removeDevice(token);
  }

  /**
   * Read the key that browsers subscribe with, or null where the operator has set none.
   *
   * @returns {Promise<string | null>}
   */
  async webPushKey() {
    return this.#api.webPushKey();
  }

  /**
   * Change an entry once its earlier changes are done: two requests may overtake each other on their way.
   *
   * @param {string} id
   * @param {() => Promise<void>} request
   */
  async #change(id, request) {
    const done = (this.#changes.get(id) ?? Promise.resolve()).then(request);
    const over = done.catch(() => undefined);
    this.#changes.set(id, over);
    await done.finally(() => {
      if (this.#changes.get(id) === over) this.#changes.delete(id);
    });
    // An open session is told the count by the server. The change stands even if the count cannot be read.
    if (this.state !== "open") await this.#recount();
  }

  async #recount() {
    const page = await this.#api.inbox({ limit: 1 }).catch(() => null);
    if (page) this.#say(page.unread);
  }

  /**
   * @param {ServerFrame} frame
   * @param {string | null} cursor
   */
  #receive(frame, cursor) {
    if (frame.type === "hello") return this.#greeted(frame, cursor);
    if (frame.type === "notification") this.#arrived(frame.notification);
    else if (frame.type === "unread") this.#say(frame.unread);
    else if (frame.type === "recalled") this.#recalled(frame.id);
    else if (frame.type === "status") this.#emit("status", frame);
    else if (frame.type === "gap") this.#missed();
    else if (frame.type === "error") this.#emit("error", { code: frame.code });
    if (cursor !== null) this.#moveTo(cursor);
  }

  /**
   * @param {HelloFrame} hello
   * @param {string | null} cursor
   */
  #greeted(hello, cursor) {
    this.#helloCursor = cursor ?? hello.cursor ?? null;
    // When resuming, what was missed comes after the hello: its cursor would skip that if the link broke now.
    if (this.#cursor === null) this.#moveTo(this.#helloCursor);
    this.#emit("hello", { session_id: hello.session_id });
    this.#say(hello.unread);
    if (this.#owing) void this.#readMissed();
  }

  /** Say that history is gone, and stand where the hello stood: an inbox read from now on holds all before it. */
  #missed() {
    this.#moveTo(this.#helloCursor);
    this.#emit("gap", {});
    void this.#readMissed();
  }

  /** Announce what the inbox still holds of what was missed, and then what arrived meanwhile. */
  async #readMissed() {
    this.#owing = true;
    if (this.#held) return;
    /** @type {InboxNotification[]} */
    const held = [];
    this.#held = held;
    while (this.#owing) {
      this.#owing = false;
      const page = await this.#api.inbox({ limit: MISSED_LIMIT }).catch(() => null);
      // Closed meanwhile: the next connection begins with it.
      if (this.#held !== held) return;
      if (!page) {
        this.#owing = true;
        break;
      }
      const known = page.notifications.findIndex((each) => this.#seen.has(announced(each)));
      const missed = known < 0 ? page.notifications : page.notifications.slice(0, known);
      for (const notification of missed.reverse()) this.#announce(notification, true);
      this.#say(page.unread);
    }
    this.#held = null;
    for (const notification of held) this.#announce(notification, false);
  }

  #settled() {
    if (this.#owing) void this.#readMissed();
    // Entries read elsewhere while this client was away hide arrivals in the hello's count, unless a count followed.
    if (!this.#count.confirmed) void this.#recount();
  }

  /** @param {InboxNotification} notification */
  #arrived(notification) {
    if (this.#held) this.#held.push(notification);
    else this.#announce(notification, false);
  }

  /** @param {string} id */
  #recalled(id) {
    addBounded(this.#gone, id);
    this.#emit("recalled", { id });
  }

  /**
   * @param {InboxNotification} notification
   * @param {boolean} late
   */
  #announce(notification, late) {
    if (typeof notification?.id !== "string" || this.#seen.has(announced(notification))) return;
    if (this.#gone.has(notification.id)) return;
    this.#remember(notification);
    if (!notification.read) {
      this.#count.arrived();
      this.#emit("unread", { unread: this.#count.value ?? 0 });
    }
    this.#emit("notification", { notification, late });
  }

  /** @param {InboxNotification} notification */
  #remember(notification) {
    addBounded(this.#seen, announced(notification));
  }

  /** @param {number} unread */
  #say(unread) {
    if (typeof unread !== "number") return;
    this.#count.stated(unread);
    this.#emit("unread", { unread });
  }

  /** @param {string | null} cursor */
  #moveTo(cursor) {
    this.#cursor = cursor;
    if (!this.#cursorKey) return;
    if (cursor === null) storage()?.removeItem(this.#cursorKey);
    else storage()?.setItem(this.#cursorKey, cursor);
  }

  /**
   * @template {keyof ClientEvents} K
   * @param {K} type
   * @param {ClientEvents[K]} detail
   */
  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/**
 * What an announcement is known by: the id, and for an entry that has come back the time of that.
 *
 * @param {InboxNotification} notification
 */
function announced({ id, snoozed_until: until_s }) {
  return until_s === undefined ? id : `${id} ${until_s}`;
}

/**
 * Add an id; beyond the limit the oldest one is forgotten.
 *
 * @param {Set<string>} ids
 * @param {string} id
 */
function addBounded(ids, id) {
  ids.add(id);
  for (const oldest of ids) {
    if (ids.size <= SEEN_LIMIT) break;
    ids.delete(oldest);
  }
}

/** The tab's storage, or null where the browser withholds it: a sandboxed frame may only look at the name. */
function storage() {
  try {
    return globalThis.sessionStorage ?? null;
  } catch {
    return null;
  }
}
