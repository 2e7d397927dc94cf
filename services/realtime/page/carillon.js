// @ts-check
/**
 * Carillon's browser client: live notifications and the inbox of one user.
 *
 * Each notification is announced once for each client, also across reconnects: the client keeps its position (the
 * cursor), resumes from it, and drops ids it has seen. What it does not promise: that a `read` sent over a socket
 * that dies in the same moment arrives. Calls that return a promise over HTTP do say so.
 *
 * @module
 */

import { CarillonError, InboxApi } from "./api.js";
import { Backoff } from "./backoff.js";
import { openEventSource, openWebSocket } from "./transport.js";
import { UnreadCount } from "./unread-count.js";

/** @import { TokenSource } from "./api.js" */
/** @import { Link } from "./transport.js" */
/** @import { ClientEvents, ClientFrame, ConnectionState, InboxPage, InboxQuery } from "./types.js" */
/** @import { Preferences, ServerFrame, TransportName } from "./types.js" */

export { CarillonError };

/** Close codes of the realtime service. The others (1001 going away, 4008 too slow) need no treatment of their own. */
const UNAUTHENTICATED = 4001;
const TOO_MANY_SESSIONS = 4009;

/** From opening to hello; a proxy may swallow an upgrade and answer nothing. */
const HELLO_DEADLINE_MS = 10_000;
/** A connection that lived this long was a success: the next loss starts with the shortest wait. */
const STABLE_MS = 5_000;
/** Shorter than the idle limit of common proxies (nginx: proxy_read_timeout, 60 s). */
const PING_EVERY_MS = 25_000;
/** A cursor that the server refuses looks like any failed handshake; after this many it is given up. */
const FAILURES_BEFORE_CURSOR_IS_DROPPED = 4;
/** Ids remembered against duplicates. A resume repeats far less. */
const SEEN_LIMIT = 1_000;

/**
 * @typedef {object} ClientOptions
 * @property {string} [url] Where the realtime service answers; the page's own origin when left out.
 * @property {TokenSource} getToken Supplies the JWT.
 * @property {"auto" | TransportName} [transport] "auto" is WebSocket, and SSE where that does not get through.
 * @property {string} [cursorKey] Keep the position in sessionStorage under this name, across reloads. Use one name
 *   for each user. A page that reads the inbox before it connects has no need of it.
 */

export class CarillonClient extends EventTarget {
  #api;
  #choice;
  #cursorKey;
  #backoff = new Backoff();
  #count = new UnreadCount();
  /** @type {Set<string>} */
  #seen = new Set();
  /** @type {ConnectionState} */
  #state = "idle";
  /** @type {TransportName} */
  #transport;
  /** @type {Link | null} */
  #link = null;
  /** @type {string | null} */
  #cursor = null;
  /**
   * Where the stream stood when the server said hello.
   *
   * @type {string | null}
   */
  #helloCursor = null;
  /** Which attempt is current; answers to an earlier one are dropped. */
  #attempt = 0;
  #failures = 0;
  #gapPending = false;
  #tokenRenewed = false;
  #notBefore_ms = 0;
  /** @type {Set<ReturnType<typeof setTimeout>>} */
  #timers = new Set();
  /** @type {AbortController | null} */
  #listening = null;

  /** @param {ClientOptions} options */
  constructor({ url = "", getToken, transport = "auto", cursorKey }) {
    super();
    this.#api = new InboxApi(url, getToken);
    this.#choice = transport;
    this.#transport = transport === "auto" ? "websocket" : transport;
    this.#cursorKey = cursorKey;
    if (cursorKey) this.#cursor = globalThis.sessionStorage?.getItem(cursorKey) ?? null;
  }

  get state() {
    return this.#state;
  }

  /** The transport in use or last tried. */
  get transport() {
    return this.#transport;
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
    if (this.#state !== "idle" && this.#state !== "stopped") return;
    this.#tokenRenewed = false;
    this.#listen();
    void this.#try();
  }

  /** Leave. Nothing is announced after this. */
  close() {
    this.#drop();
    this.#listening?.abort();
    this.#listening = null;
    this.#become("idle");
  }

  /**
   * Send a frame over the open WebSocket. Nothing confirms it; prefer the methods below.
   *
   * @param {ClientFrame} frame
   * @returns {boolean} False if there is no open WebSocket.
   */
  send(frame) {
    return this.#state === "open" && (this.#link?.send(frame) ?? false);
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
    if (this.#state === "idle" && !query?.before && !query?.state) {
      this.#moveTo(page.cursor);
      for (const { id } of page.notifications) this.#remember(id);
    }
    this.#say(page.unread);
    return page;
  }

  /**
   * Mark as read: over the socket where one is open, since losing it only leaves the entry unread.
   *
   * @param {string} id
   */
  async markRead(id) {
    if (!this.send({ type: "read", id })) await this.#change(() => this.#api.mark(id, "read"));
  }

  /** @param {string} id */
  async markUnread(id) {
    await this.#change(() => this.#api.mark(id, "unread"));
  }

  /** @param {string} id */
  async archive(id) {
    await this.#change(() => this.#api.mark(id, "archive"));
  }

  async markAllRead() {
    await this.#change(() => this.#api.markAllRead());
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

  /** @param {Preferences} preferences */
  async setPreferences(preferences) {
    await this.#api.setPreferences(preferences);
  }

  /** @param {() => Promise<void>} request */
  async #change(request) {
    await request();
    // An open session is told the count by the server.
    if (this.#state !== "open") await this.#recount();
  }

  #listen() {
    this.#listening ??= new AbortController();
    const { signal } = this.#listening;
    globalThis.addEventListener?.("online", () => this.#networkChanged(), { signal });
    globalThis.addEventListener?.("offline", () => this.#networkLost(), { signal });
    globalThis.document?.addEventListener(
      "visibilitychange",
      () => {
        if (document.visibilityState === "visible") this.#hurry();
      },
      { signal },
    );
  }

  #networkChanged() {
    // Another network may let WebSockets through.
    if (this.#choice === "auto" && this.#state !== "open") this.#transport = "websocket";
    this.#hurry();
  }

  #networkLost() {
    if (this.#state === "idle" || this.#state === "stopped") return;
    // A socket on a lost network would look open for minutes.
    this.#drop();
    this.#become("offline");
  }

  /** End the wait, unless the server asked for it. */
  #hurry() {
    const waiting = this.#state === "waiting" || this.#state === "offline";
    if (waiting && Date.now() >= this.#notBefore_ms) void this.#try();
  }

  async #try() {
    this.#drop();
    const attempt = this.#attempt;
    this.#become("connecting");
    try {
      const ticket = await this.#api.ticket();
      if (attempt !== this.#attempt) return;
      const websocket = this.#transport === "websocket";
      const address = this.#api.address(websocket ? "ws" : "events", { ticket, cursor: this.#cursor });
      this.#link = (websocket ? openWebSocket : openEventSource)(address, {
        frame: (frame, cursor) => this.#receive(frame, cursor),
        closed: (code) => void this.#closed(code),
      });
      this.#after(HELLO_DEADLINE_MS, () => {
        if (this.#state === "connecting") void this.#closed(null);
      });
    } catch (error) {
      if (attempt === this.#attempt) this.#refused(error);
    }
  }

  /** @param {unknown} error */
  #refused(error) {
    const status = error instanceof CarillonError ? error.status : 0;
    if (status === 401 || status === 403) return this.#stop(status);
    const asked_ms = error instanceof CarillonError ? error.retryAfterMs : null;
    if (asked_ms !== null) this.#notBefore_ms = Date.now() + asked_ms;
    this.#wait((asked_ms ?? 0) + this.#backoff.next(), status || null);
  }

  /** @param {number | null} code */
  async #closed(code) {
    const greeted = this.#state === "open";
    this.#drop();
    if (!greeted) this.#countFailure();
    else if (this.#choice === "auto") this.#transport = "websocket";
    if (code === UNAUTHENTICATED) return this.#renew();
    if (code === TOO_MANY_SESSIONS) {
      // At once again would push out another session of this user, which would come back and push out this one.
      return this.#wait(this.#backoff.longest(), code);
    }
    // 1001 comes when a server restarts, after a long life, so the backoff stands at its shortest; a server that
    // says it to everybody at once must not be hammered. 4008 and all others resume from the cursor.
    this.#wait(this.#backoff.next(), code);
  }

  #countFailure() {
    this.#failures += 1;
    if (this.#choice === "auto") this.#transport = this.#transport === "websocket" ? "sse" : "websocket";
    if (this.#cursor !== null && this.#failures % FAILURES_BEFORE_CURSOR_IS_DROPPED === 0) {
      this.#moveTo(null);
      this.#gapPending = true;
    }
  }

  async #renew() {
    const attempt = this.#attempt;
    if (this.#tokenRenewed) return this.#stop(UNAUTHENTICATED);
    this.#tokenRenewed = true;
    this.#become("connecting");
    try {
      const renewed = await this.#api.renewToken();
      if (attempt !== this.#attempt) return;
      if (renewed) void this.#try();
      else this.#stop(UNAUTHENTICATED);
    } catch (error) {
      if (attempt === this.#attempt) this.#refused(error);
    }
  }

  /** @param {number} code */
  #stop(code) {
    this.#drop();
    this.#become("stopped", { code });
    this.#emit("unauthenticated", { code });
  }

  /**
   * @param {number} wait_ms
   * @param {number | null} code
   */
  #wait(wait_ms, code) {
    if (globalThis.navigator?.onLine === false) return this.#become("offline", { code });
    this.#after(wait_ms, () => void this.#try());
    this.#become("waiting", { wait_ms, code });
  }

  /**
   * @param {ServerFrame} frame
   * @param {string | null} cursor
   */
  #receive(frame, cursor) {
    if (frame.type === "hello") return this.#greeted(frame, cursor);
    if (frame.type === "notification") this.#announce(frame.notification);
    else if (frame.type === "unread") this.#say(frame.unread);
    else if (frame.type === "status") this.#emit("status", frame);
    else if (frame.type === "gap") this.#missed();
    if (cursor !== null) this.#moveTo(cursor);
  }

  /**
   * @param {ServerFrame & {type: "hello"}} hello
   * @param {string | null} cursor
   */
  #greeted(hello, cursor) {
    this.#failures = 0;
    // When resuming, what was missed comes after the hello: its cursor would skip that if the link broke now.
    this.#helloCursor = cursor ?? hello.cursor ?? null;
    if (this.#cursor === null) this.#moveTo(this.#helloCursor);
    this.#after(STABLE_MS, () => this.#settled());
    this.#keepAlive();
    this.#become("open");
    this.#emit("hello", { session_id: hello.session_id });
    this.#say(hello.unread);
    if (this.#gapPending) this.#missed();
  }

  /** Say that history is gone, and stand where the hello stood: an inbox read from now on holds all before it. */
  #missed() {
    this.#gapPending = false;
    this.#moveTo(this.#helloCursor);
    this.#emit("gap", {});
  }

  #settled() {
    this.#backoff.reset();
    this.#tokenRenewed = false;
    // Entries read elsewhere while this client was away hide arrivals in the hello's count, unless a count followed.
    if (!this.#count.confirmed) this.#recount().catch(() => undefined);
  }

  async #recount() {
    this.#say((await this.#api.inbox({ limit: 1 })).unread);
  }

  #keepAlive() {
    this.#after(PING_EVERY_MS, () => {
      this.#link?.send({ type: "ping" });
      this.#keepAlive();
    });
  }

  /** @param {import("./types.js").InboxNotification} notification */
  #announce(notification) {
    if (typeof notification?.id !== "string" || this.#seen.has(notification.id)) return;
    this.#remember(notification.id);
    if (!notification.read) {
      this.#count.arrived();
      this.#emit("unread", { unread: this.#count.value ?? 0 });
    }
    this.#emit("notification", { notification });
  }

  /** @param {string} id */
  #remember(id) {
    this.#seen.add(id);
    for (const oldest of this.#seen) {
      if (this.#seen.size <= SEEN_LIMIT) break;
      this.#seen.delete(oldest);
    }
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
    if (cursor === null) globalThis.sessionStorage?.removeItem(this.#cursorKey);
    else globalThis.sessionStorage?.setItem(this.#cursorKey, cursor);
  }

  /** End the current attempt or connection and everything that waits for it. */
  #drop() {
    this.#attempt += 1;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#link?.close();
    this.#link = null;
  }

  /**
   * @param {number} wait_ms
   * @param {() => void} then
   */
  #after(wait_ms, then) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      then();
    }, wait_ms);
    this.#timers.add(timer);
  }

  /**
   * @param {ConnectionState} state
   * @param {{wait_ms?: number, code?: number | null}} [details]
   */
  #become(state, { wait_ms, code } = {}) {
    if (state === this.#state && wait_ms === undefined) return;
    this.#state = state;
    this.#emit("state", { state, transport: this.#transport, wait_ms: wait_ms ?? null, code: code ?? null });
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
