// @ts-check
/**
 * Staying connected: one link after another, with a fresh ticket for each and a wait between them.
 *
 * It knows when to try and when to give up, and nothing of what the frames say, except that a hello makes the
 * connection good.
 *
 * @module
 */

import { CarillonError } from "./api.js";
import { Backoff } from "./backoff.js";
import { openEventSource, openWebSocket } from "./transport.js";

/** @import { InboxApi } from "./api.js" */
/** @import { Link, LinkEvents } from "./transport.js" */
/** @import { ClientFrame, ConnectionState, ServerFrame, StateChange, TransportName } from "./types.js" */

/** RFC 6455, 7.4.1. */
const GOING_AWAY = 1001;
/** Close codes of the realtime service. 4008 (too slow) needs no treatment of its own: the cursor brings the rest. */
const UNAUTHENTICATED = 4001;
const TOO_MANY_SESSIONS = 4009;
/** What only the server says, so that a WebSocket got through to it: those, 1013 (try again later), 4008. */
const SPOKEN_BY_SERVER = new Set([GOING_AWAY, UNAUTHENTICATED, TOO_MANY_SESSIONS, 1013, 4008]);

/** Handshakes may fail for many reasons. So many in a row without a hello look like a proxy that lets none through. */
const FAILURES_BEFORE_SSE = 2;
/** From the first hello of an event stream to the next try of a WebSocket beside it; twice as long after each failure. */
const RETURN_FIRST_MS = 60_000;
const RETURN_LONGEST_MS = 30 * 60_000;
/** From opening to hello; a proxy may swallow an upgrade and answer nothing. */
const HELLO_DEADLINE_MS = 10_000;
/** A connection that lived this long was a success: the next loss starts with the shortest wait. */
const STABLE_MS = 5_000;
/** Shorter than the idle limit of common proxies (nginx: proxy_read_timeout, 60 s). */
const PING_EVERY_MS = 25_000;
/** What a ping waits for its answer. */
const PONG_DEADLINE_MS = 10_000;

/**
 * What a connection asks and tells its owner.
 *
 * @typedef {object} ConnectionOwner
 * @property {() => string | null} cursor Where the next link resumes.
 * @property {(change: StateChange) => void} state
 * @property {(frame: ServerFrame, cursor: string | null) => void} frame
 * @property {() => void} settled The link has lived long enough to be called stable.
 * @property {(code: number) => void} unauthenticated It has stopped, and waits for `connect()`.
 */

export class Connection {
  #api;
  #choice;
  #owner;
  #backoff = new Backoff();
  /** @type {ConnectionState} */
  #state = "idle";
  /** @type {TransportName} */
  #transport;
  /** @type {Link | null} */
  #link = null;
  /** A WebSocket that is tried beside an event stream. @type {Link | null} */
  #candidate = null;
  /** WebSockets in a row that were never greeted. */
  #failures = 0;
  #returnAfter_ms = RETURN_FIRST_MS;
  /** What the owner was told last, so that he is told of changes alone. @type {TransportName | null} */
  #told = null;
  /** Which attempt is current; answers to an earlier one are dropped. */
  #attempt = 0;
  /** Something came since the last ping. */
  #heard = false;
  #tokenRenewed = false;
  #notBefore_ms = 0;
  /** @type {Set<ReturnType<typeof setTimeout>>} */
  #timers = new Set();
  /** @type {AbortController | null} */
  #listening = null;

  /**
   * @param {InboxApi} api
   * @param {"auto" | TransportName} choice
   * @param {ConnectionOwner} owner
   */
  constructor(api, choice, owner) {
    this.#api = api;
    this.#choice = choice;
    this.#owner = owner;
    this.#transport = choice === "auto" ? "websocket" : choice;
  }

  get state() {
    return this.#state;
  }

  get transport() {
    return this.#transport;
  }

  connect() {
    if (this.#state !== "idle" && this.#state !== "stopped") return;
    this.#tokenRenewed = false;
    this.#listen();
    void this.#try();
  }

  close() {
    this.#drop();
    this.#listening?.abort();
    this.#listening = null;
    this.#become("idle");
  }

  /** @param {ClientFrame} frame */
  send(frame) {
    return this.#state === "open" && (this.#link?.send(frame) ?? false);
  }

  #listen() {
    this.#listening ??= new AbortController();
    const { signal } = this.#listening;
    globalThis.addEventListener?.("online", () => this.#networkBack(), { signal });
    globalThis.addEventListener?.("offline", () => this.#networkLost(), { signal });
    for (const event of ["focus", "blur"]) {
      globalThis.addEventListener?.(event, () => this.#tellFocus(event === "focus"), { signal });
    }
    globalThis.document?.addEventListener(
      "visibilitychange",
      () => {
        if (document.visibilityState !== "visible") return;
        if (this.#state === "open") this.#ping();
        else this.#hurry();
      },
      { signal },
    );
  }

  #networkBack() {
    // Another network may let WebSockets through.
    if (this.#choice === "auto" && this.#state !== "open") {
      this.#transport = "websocket";
      this.#failures = 0;
      this.#returnAfter_ms = RETURN_FIRST_MS;
    }
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
    if (!waiting) return;
    const asked_ms = this.#notBefore_ms - Date.now();
    if (asked_ms > 0) this.#wait(asked_ms, null);
    else void this.#try();
  }

  async #try() {
    this.#drop();
    const attempt = this.#attempt;
    this.#become("connecting");
    try {
      const ticket = await this.#api.ticket();
      if (attempt !== this.#attempt) return;
      this.#link = this.#open(this.#transport, ticket, {
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

  /**
   * @param {TransportName} transport
   * @param {string} ticket
   * @param {LinkEvents} events
   */
  #open(transport, ticket, events) {
    const websocket = transport === "websocket";
    const address = this.#api.address(websocket ? "ws" : "events", { ticket, cursor: this.#owner.cursor() });
    return (websocket ? openWebSocket : openEventSource)(address, events);
  }

  /**
   * @param {ServerFrame} frame
   * @param {string | null} cursor
   */
  #receive(frame, cursor) {
    this.#heard = true;
    if (frame.type === "hello") this.#greeted();
    this.#owner.frame(frame, cursor);
  }

  #greeted() {
    if (this.#transport === "websocket") {
      this.#failures = 0;
      this.#returnAfter_ms = RETURN_FIRST_MS;
    } else if (this.#choice === "auto") this.#returnLater();
    this.#backoff.ease();
    this.#after(STABLE_MS, () => {
      this.#backoff.reset();
      this.#tokenRenewed = false;
      this.#owner.settled();
    });
    this.#keepAlive();
    if (globalThis.document?.hasFocus()) this.#tellFocus(true);
    this.#become("open");
  }

  #returnLater() {
    // From the upper half, so that the clients of one server do not try in step.
    this.#after(this.#returnAfter_ms * (0.5 + Math.random() / 2), () => void this.#return());
    this.#returnAfter_ms = Math.min(RETURN_LONGEST_MS, this.#returnAfter_ms * 2);
  }

  /**
   * Try a WebSocket beside the event stream, which goes on until the other one is greeted.
   *
   * The WebSocket resumes from the cursor as it is now. What comes over both is dropped by the owner, who knows it.
   */
  async #return() {
    const attempt = this.#attempt;
    /** @type {[ServerFrame, string | null][]} */
    const early = [];
    /** @type {Link | null} */
    let link = null;
    const failed = () => {
      if (attempt !== this.#attempt || this.#link === link) return;
      link?.close();
      this.#candidate = null;
      this.#returnLater();
    };
    let ticket;
    try {
      ticket = await this.#api.ticket();
    } catch {
      return failed();
    }
    if (attempt !== this.#attempt) return;
    this.#after(HELLO_DEADLINE_MS, () => {
      if (this.#candidate !== null && this.#candidate === link) failed();
    });
    link = this.#candidate = this.#open("websocket", ticket, {
      frame: (frame, cursor) => {
        if (this.#link === link) return this.#receive(frame, cursor);
        early.push([frame, cursor]);
        if (frame.type !== "hello" || link === null) return;
        this.#drop({ except: link });
        this.#link = link;
        this.#transport = "websocket";
        for (const each of early) this.#receive(...each);
      },
      closed: (code) => (this.#link === link ? void this.#closed(code) : failed()),
    });
  }

  /**
   * Somebody who is looking needs no push beside it.
   *
   * @param {boolean} focused
   */
  #tellFocus(focused) {
    this.#link?.send({ type: "focus", focused });
  }

  #keepAlive() {
    this.#after(PING_EVERY_MS, () => {
      this.#ping();
      this.#keepAlive();
    });
  }

  /** Give the link up unless it shows a sign of life: a lost network may leave a socket open for many minutes. */
  #ping() {
    if (!this.#link?.send({ type: "ping" })) return;
    this.#heard = false;
    this.#after(PONG_DEADLINE_MS, () => {
      if (!this.#heard) void this.#closed(null);
    });
  }

  /** @param {unknown} error */
  #refused(error) {
    const status = error instanceof CarillonError ? error.status : 0;
    if (status === 401 || status === 403) return this.#stop(status);
    const asked_ms = (error instanceof CarillonError ? error.retryAfterMs : null) ?? 0;
    this.#notBefore_ms = Date.now() + asked_ms;
    this.#wait(asked_ms + this.#backoff.next(), status || null);
  }

  /** @param {number | null} code */
  async #closed(code) {
    const greeted = this.#state === "open";
    this.#drop();
    if (this.#choice === "auto") {
      if (this.#transport === "websocket") {
        const through = greeted || SPOKEN_BY_SERVER.has(code ?? 0);
        this.#failures = through ? 0 : this.#failures + 1;
      }
      // After an event stream one WebSocket is tried; the failures before it still count.
      const through = this.#transport === "sse" || this.#failures < FAILURES_BEFORE_SSE;
      this.#transport = through ? "websocket" : "sse";
    }
    if (code === UNAUTHENTICATED) return this.#renew();
    if (code === TOO_MANY_SESSIONS) {
      // At once again would push out another session of this user, which would come back and push out this one.
      return this.#wait(this.#backoff.longest(), code);
    }
    // Before its hello, a server that is going away has not shown that it works.
    this.#wait(greeted && code === GOING_AWAY ? this.#backoff.soon() : this.#backoff.next(), code);
  }

  /** Try once more with a fresh token. A used or late ticket is refused in the same way, so an unchanged one may do. */
  async #renew() {
    if (this.#tokenRenewed) return this.#stop(UNAUTHENTICATED);
    const attempt = this.#attempt;
    this.#tokenRenewed = true;
    this.#become("connecting");
    try {
      await this.#api.renewToken();
      if (attempt === this.#attempt) void this.#try();
    } catch (error) {
      if (attempt === this.#attempt) this.#refused(error);
    }
  }

  /** @param {number} code */
  #stop(code) {
    this.#drop();
    this.#become("stopped", { code });
    this.#owner.unauthenticated(code);
  }

  /**
   * @param {number} wait_ms
   * @param {number | null} code
   */
  #wait(wait_ms, code) {
    this.#drop();
    if (globalThis.navigator?.onLine === false) return this.#become("offline", { code });
    this.#after(wait_ms, () => void this.#try());
    this.#become("waiting", { wait_ms, code });
  }

  /**
   * End the current attempt or link and everything that waits for it.
   *
   * @param {{except?: Link}} [options] A link that stays open, to take its place.
   */
  #drop({ except } = {}) {
    this.#attempt += 1;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#link?.close();
    this.#link = null;
    if (this.#candidate !== except) this.#candidate?.close();
    this.#candidate = null;
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
    if (state === this.#state && this.#transport === this.#told && wait_ms === undefined) return;
    this.#state = state;
    this.#told = this.#transport;
    this.#owner.state({ state, transport: this.#transport, wait_ms: wait_ms ?? null, code: code ?? null });
  }
}
