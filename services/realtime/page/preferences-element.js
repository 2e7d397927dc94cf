// @ts-check
/**
 * `<carillon-preferences>`: on which channels a person wants notifications, and Web Push for this browser.
 *
 * Each change is saved at once; one that the server does not take is taken back and said so. Works under
 * `default-src 'self'; style-src 'self'; script-src 'self'`. docs/guides/web.md lists its attributes, properties and events.
 *
 * @module
 */

import { CarillonError } from "./api.js";
import { BASE_STYLE } from "./base-style.js";
import { CarillonClient } from "./carillon.js";
import { define, ElementBase } from "./custom-element.js";
import { button, element } from "./dom.js";
import { PREFERENCES_LABELS } from "./labels.js";
import { PREFERENCES_STYLE } from "./preferences-style.js";
import { WebPush } from "./web-push.js";

/** @import { TokenSource } from "./api.js" */
/** @import { PreferencesLabels } from "./labels.js" */
/** @import { Preferences } from "./types.js" */
/** @import { WebPushState } from "./web-push.js" */

/** @typedef {keyof Preferences} ChannelName */
const CHANNELS = /** @type {const} */ (["realtime", "email", "sms", "push"]);

export class CarillonPreferences extends ElementBase {
  static observedAttributes = ["url", "token", "worker"];

  /** @type {TokenSource | null} */
  #getToken = null;
  /** @type {PreferencesLabels} */
  #labels = PREFERENCES_LABELS;
  #starting = false;
  /** @type {CarillonClient | null} */
  #client = null;
  /** @type {WebPush | null} */
  #webPush = null;
  /** @type {Map<ChannelName, HTMLInputElement>} */
  #switches = new Map();
  #channels = element("fieldset", { class: "channels", part: "channels", disabled: true });
  #browser = element("div", { class: "browser", part: "browser" });
  #trouble = element("p", { class: "trouble", role: "alert" });
  #done = element("p", { class: "hidden-text", role: "status" });

  constructor() {
    super();
    const shadow = this.attachShadow({ mode: "open" });
    shadow.adoptedStyleSheets = [BASE_STYLE, PREFERENCES_STYLE];
    shadow.append(this.#channels, this.#browser, this.#trouble, this.#done);
    this.#draw();
  }

  connectedCallback() {
    // A framework may have set properties on the element before this class was loaded.
    for (const property of ["url", "token", "getToken", "labels"]) this.#adopt(property);
    this.#restart();
  }

  disconnectedCallback() {
    this.#client = this.#webPush = null;
  }

  attributeChangedCallback() {
    this.#restart();
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
    this.#labels = { ...PREFERENCES_LABELS, ...labels };
    this.#draw();
    this.#restart();
  }

  /** Web Push for this browser, or null while there is no token. */
  get webPush() {
    return this.#webPush;
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
      this.#client = this.#webPush = null;
      this.#channels.disabled = true;
      this.#browser.replaceChildren();
      if (this.isConnected && (this.#getToken || this.token)) void this.#start();
    });
  }

  async #start() {
    const token = this.token;
    const client = new CarillonClient({ url: this.url, getToken: this.#getToken ?? (() => token) });
    this.#client = client;
    this.#webPush = new WebPush(client, this.getAttribute("worker") ?? undefined);
    const loaded = await this.#try(this.#labels.loadFailed, async () => {
      const preferences = await client.preferences();
      if (client !== this.#client) return;
      this.#show(preferences);
      this.#channels.disabled = false;
    });
    // What went wrong is to be read, and this browser cannot be registered either.
    if (!loaded) return;
    await this.#try(this.#labels.loadFailed, async () => {
      const state = await this.#webPush?.state();
      if (state && client === this.#client) this.#showBrowser(state);
    });
  }

  #draw() {
    const labels = this.#labels;
    this.#switches.clear();
    const rows = CHANNELS.map((channel) => {
      const described = `${channel}-about`;
      const box = element("input", { type: "checkbox", role: "switch", id: channel, "aria-describedby": described });
      box.addEventListener("change", () => void this.#save(channel));
      this.#switches.set(channel, box);
      const { name, about } = labels.channels[channel];
      const words = element("div", {}, element("label", { for: channel }, name));
      words.append(element("p", { id: described }, about));
      return element("div", { class: "row" }, words, box);
    });
    const note = element("p", { class: "note" }, labels.note);
    this.#channels.replaceChildren(element("legend", {}, labels.title), ...rows, note);
  }

  /** @param {Preferences} preferences */
  #show(preferences) {
    for (const [channel, box] of this.#switches) box.checked = Boolean(preferences[channel]);
  }

  /** @param {ChannelName} channel */
  async #save(channel) {
    const client = this.#client;
    const changed = this.#switches.get(channel);
    if (!client || !changed) return;
    const of = (/** @type {ChannelName} */ name) => this.#switches.get(name)?.checked ?? false;
    const preferences = { realtime: of("realtime"), email: of("email"), sms: of("sms"), push: of("push") };
    // One at a time: each save says all four. Disabling takes the focus away, so it is given back.
    this.#channels.disabled = true;
    const saved = await this.#try(this.#labels.saveFailed, () => client.setPreferences(preferences));
    if (client !== this.#client) return;
    if (!saved) changed.checked = !changed.checked;
    this.#channels.disabled = false;
    changed.focus();
    if (!saved) return;
    this.#done.textContent = this.#labels.saved;
    this.dispatchEvent(new CustomEvent("carillon-preferences", { detail: preferences, bubbles: true, composed: true }));
  }

  /** @param {WebPushState} state */
  #showBrowser(state) {
    const labels = this.#labels;
    /** @type {HTMLElement[]} */
    const parts = [element("h3", {}, labels.browserTitle), element("p", {}, labels.browser[state])];
    if (state === "off") parts.push(button(labels.enable, "primary enable", () => void this.#switchBrowser(true)));
    if (state === "on") parts.push(button(labels.disable, "quiet disable", () => void this.#switchBrowser(false)));
    this.#browser.dataset.state = state;
    this.#browser.replaceChildren(...parts);
  }

  /** @param {boolean} on */
  async #switchBrowser(on) {
    const webPush = this.#webPush;
    if (!webPush) return;
    for (const pressed of this.#browser.querySelectorAll("button")) pressed.disabled = true;
    /** @type {WebPushState} */
    let state = on ? "off" : "on";
    await this.#try(this.#labels.browserFailed, async () => {
      if (on) state = await webPush.enable();
      else await webPush.disable().then(() => (state = "off"));
    });
    if (webPush !== this.#webPush) return;
    this.#showBrowser(state);
    this.#browser.querySelector("button")?.focus();
    this.dispatchEvent(new CustomEvent("carillon-webpush", { detail: { state }, bubbles: true, composed: true }));
  }

  /**
   * @param {string} words What to say where it fails.
   * @param {() => Promise<void>} work
   */
  async #try(words, work) {
    const client = this.#client;
    this.#trouble.textContent = "";
    try {
      await work();
      return true;
    } catch (error) {
      const unknown = error instanceof CarillonError && error.code === "unknown_user";
      if (client === this.#client) this.#trouble.textContent = unknown ? this.#labels.unknownUser : words;
      return false;
    }
  }
}

define("carillon-preferences", CarillonPreferences);
