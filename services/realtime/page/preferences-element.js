// @ts-check
/**
 * `<carillon-preferences>`: what a person hears about, on which channels and when, and Web Push for this browser.
 *
 * Each change is saved at once; one that the server does not take is taken back and said so. Everything it shows is text,
 * and it works under `default-src 'self'; style-src 'self'; script-src 'self'`. docs/guides/web.md lists its attributes,
 * properties and events.
 *
 * @module
 */

import { CarillonError } from "./api.js";
import { BASE_STYLE } from "./base-style.js";
import { CarillonClient } from "./carillon.js";
import { CategoryChoices } from "./category-choices.js";
import { CHANNELS, ChannelSwitches } from "./channel-switches.js";
import { define, ElementBase } from "./custom-element.js";
import { button, element, setLanguage } from "./dom.js";
import { ENGLISH, loadLanguage, localeOf } from "./labels.js";
import { Pause } from "./pause.js";
import { PREFERENCES_STYLE } from "./preferences-style.js";
import { QuietHours } from "./quiet-hours.js";
import { WebPush } from "./web-push.js";

/** @import { TokenSource } from "./api.js" */
/** @import { PreferencesLabels } from "./labels.js" */
/** @import { OwnPreferences, Preferences } from "./types.js" */
/** @import { WebPushState } from "./web-push.js" */

export class CarillonPreferences extends ElementBase {
  static observedAttributes = ["url", "token", "worker", "locale"];

  /** @type {TokenSource | null} */
  #getToken = null;
  /** Words of the page's own. @type {Partial<PreferencesLabels>} */
  #ownLabels = {};
  #language = ENGLISH;
  /** What `#language` was loaded for. */
  #locale = "";
  /** Which change of the language is the last one. */
  #speaking = 0;
  #starting = false;
  /** @type {CarillonClient | null} */
  #client = null;
  /** @type {WebPush | null} */
  #webPush = null;
  /** What the server said last. @type {Preferences | null} */
  #shown = null;
  /** The saves that were begun: each says everything, so that they go one after the other. */
  #saving = Promise.resolve(true);
  #waiting = 0;
  /** @type {{show: (preferences: Preferences) => void}[]} */
  #parts = [];
  /** @type {Pause | null} */
  #pause = null;
  #all = element("div", { class: "all" });
  #browser = element("div", { class: "browser", part: "browser" });
  #trouble = element("p", { class: "trouble", role: "alert" });
  #done = element("p", { class: "hidden-text", role: "status" });

  constructor() {
    super();
    const shadow = this.attachShadow({ mode: "open" });
    shadow.adoptedStyleSheets = [BASE_STYLE, PREFERENCES_STYLE];
    shadow.append(this.#all);
    this.#draw();
  }

  connectedCallback() {
    // A framework may have set properties on the element before this class was loaded.
    for (const property of ["url", "token", "getToken", "locale", "labels"]) this.#adopt(property);
    this.#restart();
  }

  disconnectedCallback() {
    this.#client = this.#webPush = null;
    this.#pause?.stop();
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

  /** The language as a BCP 47 tag; that of the page when empty, and then the browser's. */
  get locale() {
    return this.getAttribute("locale") ?? "";
  }

  set locale(locale) {
    this.setAttribute("locale", locale);
  }

  /** @returns {PreferencesLabels} */
  get labels() {
    return { ...this.#language.preferences, ...this.#ownLabels };
  }

  /** Words to use instead of the language's own; those left out stay. @param {Partial<PreferencesLabels>} labels */
  set labels(labels) {
    this.#ownLabels = labels;
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
      this.#client = this.#webPush = this.#shown = null;
      if (!this.isConnected) return;
      const token = this.token;
      const getToken = this.#getToken ?? (token ? () => token : null);
      const client = getToken ? new CarillonClient({ url: this.url, getToken }) : null;
      this.#client = client;
      this.#webPush = client && new WebPush(client, this.getAttribute("worker") ?? undefined);
      void this.#speak().then((spoken) => void (spoken && client && client === this.#client && this.#start(client)));
    });
  }

  /**
   * Change to the element's language.
   *
   * @returns {Promise<boolean>} False where another one is wanted by now.
   */
  async #speak() {
    const locale = localeOf(this);
    const speaking = ++this.#speaking;
    if (locale !== this.#locale) {
      const language = await loadLanguage(locale);
      if (speaking !== this.#speaking) return false;
      this.#language = language;
      this.#locale = locale;
    }
    this.#draw();
    return true;
  }

  /** @param {CarillonClient} client */
  async #start(client) {
    const loaded = await this.#try(this.labels.loadFailed, async () => {
      const preferences = await client.preferences();
      if (client === this.#client) this.#show(preferences);
    });
    // What went wrong is to be read, and this browser cannot be registered either.
    if (!loaded) return;
    await this.#try(this.labels.loadFailed, async () => {
      const state = await this.#webPush?.state();
      if (state && client === this.#client) this.#showBrowser(state);
    });
  }

  /** Draw what is there before anything is known. */
  #draw() {
    const labels = this.labels;
    const save = (/** @type {(shown: Preferences) => OwnPreferences} */ change) => this.#save(change);
    this.#pause?.stop();
    const pause = new Pause(labels, this.#language.times, save);
    const channels = new ChannelSwitches(labels, (change) => void this.#save(() => change));
    const categories = new CategoryChoices(labels, save);
    const quietHours = new QuietHours(labels, this.#locale || this.#language.tag, save);
    this.#pause = pause;
    this.#parts = [channels, categories, quietHours, pause];
    this.#trouble.textContent = this.#done.textContent = "";
    this.#browser.replaceChildren();
    setLanguage(this.#all, this.#language);
    this.#all.replaceChildren(
      channels.element, categories.element, quietHours.element, pause.element, this.#browser, this.#trouble, this.#done,
    );
  }

  /** @param {Preferences} preferences */
  #show(preferences) {
    this.#shown = preferences;
    for (const part of this.#parts) part.show(preferences);
  }

  /**
   * @param {(shown: Preferences) => OwnPreferences} change What is to be chosen, given what holds.
   * @returns {Promise<boolean>} Whether the server has taken it.
   */
  #save(change) {
    const client = this.#client;
    this.#waiting += 1;
    const saved = this.#saving.then(() => this.#saveNow(client, change)).finally(() => (this.#waiting -= 1));
    this.#saving = saved;
    return saved;
  }

  /**
   * @param {CarillonClient | null} client
   * @param {(shown: Preferences) => OwnPreferences} change
   */
  async #saveNow(client, change) {
    const shown = this.#shown;
    if (!client || !shown || client !== this.#client) return false;
    let answer = shown;
    // What is said again is heard again only if it was gone in between.
    this.#done.textContent = "";
    const saved = await this.#try(this.labels.saveFailed, async () => {
      answer = await client.setPreferences({ ...ownChannels(shown), ...change(shown) });
    });
    if (client !== this.#client) return false;
    this.#shown = answer;
    // What was changed meanwhile is shown until it is saved, too.
    if (this.#waiting === 1) this.#show(answer);
    if (!saved) return false;
    this.#done.textContent = this.labels.saved;
    this.dispatchEvent(new CustomEvent("carillon-preferences", { detail: answer, bubbles: true, composed: true }));
    return true;
  }

  /** @param {WebPushState} state */
  #showBrowser(state) {
    const labels = this.labels;
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
    await this.#try(this.labels.browserFailed, async () => {
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
      if (client === this.#client) this.#trouble.textContent = unknown ? this.labels.unknownUser : words;
      return false;
    }
  }
}

/**
 * What the person has chosen for the channels: what nobody chose stays so when something else is saved. A server of the
 * release before does not say who chose.
 *
 * @param {Preferences} preferences
 * @returns {OwnPreferences}
 */
function ownChannels({ rules, ...preferences }) {
  const own = CHANNELS.filter((channel) => !rules || rules[channel] === "user:preference");
  return Object.fromEntries(own.map((channel) => [channel, preferences[channel]]));
}

define("carillon-preferences", CarillonPreferences);
