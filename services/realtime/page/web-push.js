// @ts-check
/**
 * Web Push for this browser: asking for permission, subscribing, and telling the server where pushes go.
 *
 * Promises that a subscription which the server does not know, or which was made with another server's key, does not
 * stay behind. It asks nobody for permission until `enable()` is called, which has to happen in a click.
 *
 * @module
 */

import { CarillonError } from "./api.js";

/** @import { CarillonClient } from "./carillon.js" */

/**
 * - `unsupported`: this browser has no Web Push, or the page is not in a secure context.
 * - `unavailable`: the operator has set no key.
 * - `denied`: the person has refused notifications of this site; only the browser's settings change that.
 * - `off`, `on`: pushes do not come, or come, to this browser.
 *
 * @typedef {"unsupported" | "unavailable" | "denied" | "off" | "on"} WebPushState
 */

export class WebPush {
  #client;
  #worker;

  /**
   * @param {CarillonClient} client
   * @param {string | URL} [worker] The service worker's address; it must be of the page's own origin.
   */
  constructor(client, worker = "/carillon-sw.js") {
    this.#client = client;
    this.#worker = worker;
  }

  get supported() {
    return "serviceWorker" in navigator && "PushManager" in globalThis && "Notification" in globalThis;
  }

  /**
   * Look how things stand. Where pushes come, the server is told again: a browser may change its subscription.
   *
   * @returns {Promise<WebPushState>}
   */
  async state() {
    if (!this.supported) return "unsupported";
    const key = await this.#client.webPushKey();
    if (key === null) return "unavailable";
    if (Notification.permission === "denied") return "denied";
    const subscription = await this.#subscription();
    if (!subscription || !isFor(subscription, key)) return "off";
    await this.#tell(subscription);
    return "on";
  }

  /**
   * Let pushes come to this browser. Call it in a click: browsers ask for permission only then.
   *
   * @returns {Promise<WebPushState>}
   */
  async enable() {
    if (!this.supported) return "unsupported";
    // First, while the click still counts.
    const permission = await Notification.requestPermission();
    if (permission !== "granted") return permission === "denied" ? "denied" : "off";
    const key = await this.#client.webPushKey();
    if (key === null) return "unavailable";
    const subscription = await this.#subscribe(key);
    try {
      await this.#tell(subscription);
    } catch (error) {
      await subscription.unsubscribe();
      throw error;
    }
    return "on";
  }

  /** Let no more pushes come to this browser. */
  async disable() {
    const subscription = this.supported ? await this.#subscription() : null;
    if (!subscription) return;
    try {
      await this.#client.removeDevice(subscription.endpoint);
    } catch (error) {
      // The server has forgotten it already.
      if (!(error instanceof CarillonError && error.status === 404)) throw error;
    } finally {
      // Whatever the server knows: a push to a subscription that is gone is refused, and the device forgotten.
      await subscription.unsubscribe();
    }
  }

  async #subscription() {
    const registration = await navigator.serviceWorker.getRegistration(this.#worker);
    return (await registration?.pushManager.getSubscription()) ?? null;
  }

  /** @param {string} key */
  async #subscribe(key) {
    try {
      const registration = await navigator.serviceWorker.register(this.#worker);
      await active(registration);
      const known = await registration.pushManager.getSubscription();
      if (known && isFor(known, key)) return known;
      await known?.unsubscribe();
      return await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: bytes(key) });
    } catch (error) {
      throw new CarillonError("The browser could not subscribe at its push service.", { cause: error });
    }
  }

  /** @param {PushSubscription} subscription */
  async #tell(subscription) {
    const { p256dh = "", auth = "" } = subscription.toJSON().keys ?? {};
    const keys = { endpoint: subscription.endpoint, keys: { p256dh, auth } };
    await this.#client.addDevice({ platform: "web", subscription: keys });
  }
}

/**
 * Wait for the worker of this registration: a page outside its scope has no `serviceWorker.ready`.
 *
 * @param {ServiceWorkerRegistration} registration
 * @returns {Promise<void>}
 */
async function active(registration) {
  const worker = registration.installing ?? registration.waiting;
  if (registration.active || !worker) return;
  await new Promise((resolve, reject) => {
    worker.addEventListener("statechange", () => {
      if (worker.state === "activated") resolve(undefined);
      if (worker.state === "redundant") reject(new Error("The service worker was not installed."));
    });
  });
}

/**
 * @param {PushSubscription} subscription
 * @param {string} key
 */
function isFor(subscription, key) {
  const made = new Uint8Array(subscription.options.applicationServerKey ?? new ArrayBuffer(0));
  const wanted = bytes(key);
  return made.length === wanted.length && wanted.every((byte, index) => byte === made[index]);
}

/**
 * Read base64url.
 *
 * @param {string} text
 */
function bytes(text) {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
}
