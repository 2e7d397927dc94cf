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
import { CarillonElement } from "./carillon-element.js";
import { CategoryChoices } from "./category-choices.js";
import { CHANNELS, ChannelSwitches } from "./channel-switches.js";
import { define } from "./custom-element.js";
import { button, element, focusAfter, setLanguage } from "./dom.js";
import { Pause } from "./pause.js";
import { PREFERENCES_STYLE } from "./preferences-style.js";
import { QuietHours } from "./quiet-hours.js";
import { WebPush } from "./web-push.js";

/** @import { CarillonClient } from "./carillon.js" */
/** @import { PreferencesLabels } from "./labels.js" */
/** @import { OwnPreferences, Preferences } from "./types.js" */
/** @import { WebPushState } from "./web-push.js" */

export class CarillonPreferences extends CarillonElement {
  static observedAttributes = ["url", "token", "worker", "locale"];

  /** Words of the page's own. @type {Partial<PreferencesLabels>} */
  #ownLabels = {};
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

  disconnectedCallback() {
    this.#client = this.#webPush = null;
    this.#pause?.stop();
  }

  /** @returns {PreferencesLabels} */
  get labels() {
    return { ...this.language.preferences, ...this.#ownLabels };
  }

  /** Words to use instead of the language's own; those left out stay. @param {Partial<PreferencesLabels>} labels */
  set labels(labels) {
    this.#ownLabels = labels;
    this.#draw();
    this.restart();
  }

  /** Web Push for this browser, or null while there is no token. */
  get webPush() {
    return this.#webPush;
  }

  /** @protected @override */
  stop() {
    this.#client = this.#webPush = this.#shown = null;
  }

  /** @protected @override @param {CarillonClient | null} client */
  begin(client) {
    this.#client = client;
    this.#webPush = client && new WebPush(client, this.getAttribute("worker") ?? undefined);
  }

  /** @protected @override */
  speak() {
    this.#draw();
  }

  /** @protected @override @param {CarillonClient} client */
  async start(client) {
    if (client !== this.#client) return;
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
    const pause = new Pause(labels, this.language.times, save);
    const channels = new ChannelSwitches(labels, (change) => void this.#save(() => change));
    const categories = new CategoryChoices(labels, save);
    const quietHours = new QuietHours(labels, this.spoken || this.language.tag, save);
    this.#pause = pause;
    this.#parts = [channels, categories, quietHours, pause];
    this.#trouble.textContent = this.#done.textContent = "";
    this.#browser.replaceChildren();
    setLanguage(this.#all, this.language);
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
    if (state === "off") parts.push(button(labels.enable, "primary enable", () => this.#pressed(true)));
    if (state === "on") parts.push(button(labels.disable, "quiet disable", () => this.#pressed(false)));
    this.#browser.dataset.state = state;
    this.#browser.replaceChildren(...parts);
  }

  /** @param {boolean} on */
  #pressed(on) {
    void focusAfter(this.#switchBrowser(on), () => this.#browser.querySelector("button"));
  }

  /**
   * @param {boolean} on
   * @returns {Promise<boolean>} Whether it shows what became of it.
   */
  async #switchBrowser(on) {
    const webPush = this.#webPush;
    if (!webPush) return false;
    for (const pressed of this.#browser.querySelectorAll("button")) pressed.disabled = true;
    /** @type {WebPushState} */
    let state = on ? "off" : "on";
    await this.#try(this.labels.browserFailed, async () => {
      if (on) state = await webPush.enable();
      else await webPush.disable().then(() => (state = "off"));
    });
    if (webPush !== this.#webPush) return false;
    this.#showBrowser(state);
    this.dispatchEvent(new CustomEvent("carillon-webpush", { detail: { state }, bubbles: true, composed: true }));
    return true;
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
