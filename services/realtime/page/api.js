// @ts-check
/**
 * The HTTP side of Carillon: tickets, inbox, preferences, devices, acknowledgements.
 *
 * Each call is one request under a deadline, and one more with a renewed token after a 401. Nothing else is
 * repeated: the caller knows whether that is safe. Errors carry no token, address or text of a notification.
 *
 * @module
 */

/** @import { Device, InboxPage, InboxQuery, OwnPreferences, Preferences, Snooze } from "./types.js" */

/** @typedef {Record<string, string | number | null | undefined | string[]>} Query */

const DEADLINE_MS = 10_000;
/** A longer Retry-After than this is taken for a mistake. */
const LONGEST_RETRY_AFTER_MS = 300_000;

/**
 * Supplies the JWT. `renew` is true when the last one was refused: fetch a fresh one rather than a cached one.
 *
 * @callback TokenSource
 * @param {{renew: boolean}} why
 * @returns {string | Promise<string>}
 */

/** A request that was not answered with success. `status` is 0 where there was no answer at all. */
export class CarillonError extends Error {
  /**
   * @param {string} message
   * @param {{status?: number, code?: string | null, retryAfterMs?: number | null, cause?: unknown}} [details]
   */
  constructor(message, { status = 0, code = null, retryAfterMs = null, cause } = {}) {
    super(message, { cause });
    this.name = "CarillonError";
    this.status = status;
    /** The server's own word for the reason, such as "rate_limited". */
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }
}

export class InboxApi {
  #base;
  #source;
  #token = "";

  /**
   * @param {string} url Where the realtime service answers, with its path prefix if it has one.
   * @param {TokenSource} getToken
   */
  constructor(url, getToken) {
    this.#base = new URL(url.endsWith("/") ? url : `${url}/`, globalThis.location?.href);
    this.#source = getToken;
  }

  /**
   * Build the address of a call.
   *
   * @param {string} path Below `/v1/`.
   * @param {Query} [query] Empty values are left out, but not those in a list.
   */
  address(path, query = {}) {
    const url = new URL(`v1/${path}`, this.#base);
    for (const [name, value] of Object.entries(query)) {
      if (Array.isArray(value)) for (const each of value) url.searchParams.append(name, each);
      else if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, String(value));
    }
    return url;
  }

  /**
   * Get a one-time ticket: browsers cannot set headers on a WebSocket or an EventSource.
   *
   * @returns {Promise<string>}
   */
  async ticket() {
    const { ticket } = await this.#json("POST", "tickets");
    return ticket;
  }

  /**
   * @param {InboxQuery} [query]
   * @returns {Promise<InboxPage>}
   */
  async inbox({ category, ...query } = {}) {
    // An empty name asks for entries without a category.
    const names = category === undefined ? [] : [category].flat().map((name) => name ?? "");
    return this.#json("GET", "inbox", { query: { ...query, category: names } });
  }

  /**
   * @param {string} id
   * @param {"read" | "unread" | "archive"} change
   */
  async mark(id, change) {
    await this.#request("POST", `inbox/${encodeURIComponent(id)}/${change}`);
  }

  /**
   * @param {string} id
   * @param {Snooze} when
   */
  async snooze(id, when) {
    await this.#request("POST", `inbox/${encodeURIComponent(id)}/snooze`, { body: when });
  }

  /** @param {string} id */
  async unsnooze(id) {
    await this.#request("DELETE", `inbox/${encodeURIComponent(id)}/snooze`);
  }

  /**
   * @param {string} id
   * @param {string} action
   */
  async act(id, action) {
    await this.#request("POST", `inbox/${encodeURIComponent(id)}/actions/${encodeURIComponent(action)}`);
  }

  async markAllRead() {
    await this.#request("POST", "inbox/read-all");
  }

  /** @param {string} alertId */
  async acknowledge(alertId) {
    await this.#request("POST", `alerts/${encodeURIComponent(alertId)}/acknowledge`);
  }

  /** @returns {Promise<Preferences>} */
  async preferences() {
    return this.#json("GET", "preferences");
  }

  /**
   * @param {OwnPreferences} preferences
   * @returns {Promise<Preferences>}
   */
  async setPreferences(preferences) {
    return this.#json("PUT", "preferences", { body: preferences });
  }

  /** @param {Device} device */
  async addDevice(device) {
    await this.#request("POST", "devices", { body: device });
  }

  /** @param {string} token An app's token, or the endpoint of a browser's subscription. */
  async removeDevice(token) {
    await this.#request("DELETE", `devices/${encodeURIComponent(token)}`);
  }

  /**
   * Read the key that browsers subscribe with, or null where the operator has set none.
   *
   * @returns {Promise<string | null>}
   */
  async webPushKey() {
    try {
      return (await this.#json("GET", "webpush")).public_key;
    } catch (error) {
      if (error instanceof CarillonError && error.status === 404) return null;
      throw error;
    }
  }

  /**
   * Ask for another token and say whether a different one came.
   *
   * @returns {Promise<boolean>}
   */
  async renewToken() {
    const refused = this.#token;
    this.#token = await this.#source({ renew: true });
    return this.#token !== "" && this.#token !== refused;
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {{query?: Query, body?: unknown}} [parts]
   * @returns {Promise<any>} What the server sent; its shape is the server's promise.
   */
  async #json(method, path, parts) {
    const response = await this.#request(method, path, parts);
    try {
      return await response.json();
    } catch (error) {
      throw new CarillonError("The server's answer is not JSON.", { status: response.status, cause: error });
    }
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {{query?: Query, body?: unknown}} [parts]
   */
  async #request(method, path, { query, body } = {}) {
    const url = this.address(path, query);
    if (this.#token === "") this.#token = await this.#source({ renew: false });
    let response = await this.#fetch(method, url, body);
    if (response.status === 401 && (await this.renewToken())) response = await this.#fetch(method, url, body);
    if (!response.ok) throw await refusal(response);
    return response;
  }

  /**
   * @param {string} method
   * @param {URL} url
   * @param {unknown} body
   */
  async #fetch(method, url, body) {
    /** @type {Record<string, string>} */
    const headers = { Authorization: `Bearer ${this.#token}`, Accept: "application/json" };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    try {
      return await fetch(url, {
        method,
        headers,
        body: body === undefined ? null : JSON.stringify(body),
        credentials: "omit",
        cache: "no-store",
        // A click that marks an entry as read may also leave the page.
        keepalive: method === "POST" && body === undefined,
        signal: AbortSignal.timeout(DEADLINE_MS),
      });
    } catch (error) {
      throw new CarillonError("The server did not answer.", { cause: error });
    }
  }
}

/**
 * @param {Response} response
 * @returns {Promise<CarillonError>}
 */
async function refusal(response) {
  const body = await response.json().catch(() => null);
  const code = typeof body?.error?.code === "string" ? body.error.code : null;
  return new CarillonError(`The server answered ${response.status}.`, {
    status: response.status,
    code,
    retryAfterMs: retryAfter(response.headers.get("Retry-After")),
  });
}

/**
 * Read Retry-After, which is seconds or an HTTP date (RFC 9110, 10.2.3).
 *
 * @param {string | null} header
 * @returns {number | null} Milliseconds.
 */
function retryAfter(header) {
  if (header === null) return null;
  const wait_ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isNaN(wait_ms) ? null : Math.min(Math.max(wait_ms, 0), LONGEST_RETRY_AFTER_MS);
}
