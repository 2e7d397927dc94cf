// @ts-check
/**
 * What both elements have: where they ask, in whose name, and in which language.
 *
 * An element starts again when one of these changes. It says in `begin`, `start` and `stop` what that means for it.
 *
 * @module
 */

import { CarillonClient } from "./carillon.js";
import { ElementBase } from "./custom-element.js";
import { ENGLISH, loadLanguage, localeOf } from "./labels.js";

/** @import { TokenSource } from "./api.js" */

const PROPERTIES = ["url", "token", "getToken", "locale", "labels"];

export class CarillonElement extends ElementBase {
  /** @type {TokenSource | null} */
  #getToken = null;
  #starting = false;
  #language = ENGLISH;
  /** What `#language` was loaded for. */
  #spoken = "";
  /** Which change of the language is the last one. */
  #speaking = 0;

  connectedCallback() {
    // A framework may have set properties on the element before this class was loaded.
    for (const property of PROPERTIES) this.#adopt(property);
    this.restart();
  }

  attributeChangedCallback() {
    this.restart();
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
    this.restart();
  }

  /** The language as a BCP 47 tag; that of the page when empty, and then the browser's. */
  get locale() {
    return this.getAttribute("locale") ?? "";
  }

  set locale(locale) {
    this.setAttribute("locale", locale);
  }

  /** The language that was loaded last. @protected */
  get language() {
    return this.#language;
  }

  /** The tag that `language` was loaded for; empty before the first one. @protected */
  get spoken() {
    return this.#spoken;
  }

  /** End what was begun. @protected */
  stop() {}

  /** Take the client to work with; null while there is no token. @protected @param {CarillonClient | null} _client */
  begin(_client) {}

  /** Write what is there before the server answers, in the language. @protected */
  speak() {}

  /** Ask the server, unless another client is used by now. @protected @param {CarillonClient} _client */
  async start(_client) {}

  /** Start again once this turn is over, since attributes and properties are set one by one. @protected */
  restart() {
    if (this.#starting || !this.isConnected) return;
    this.#starting = true;
    queueMicrotask(() => {
      this.#starting = false;
      this.stop();
      if (!this.isConnected) return;
      const token = this.token;
      const getToken = this.#getToken ?? (token ? () => token : null);
      const client = getToken ? new CarillonClient({ url: this.url, getToken }) : null;
      this.begin(client);
      void this.#load().then((loaded) => void (loaded && client && this.start(client)));
    });
  }

  /**
   * Change to the element's language.
   *
   * @returns {Promise<boolean>} False where another one is wanted by now.
   */
  async #load() {
    const locale = localeOf(this);
    const speaking = ++this.#speaking;
    if (locale !== this.#spoken) {
      const language = await loadLanguage(locale);
      if (speaking !== this.#speaking) return false;
      this.#language = language;
      this.#spoken = locale;
    }
    this.speak();
    return true;
  }

  /** @param {string} property */
  #adopt(property) {
    if (!Object.hasOwn(this, property)) return;
    const self = /** @type {Record<string, unknown>} */ (/** @type {unknown} */ (this));
    const value = self[property];
    delete self[property];
    self[property] = value;
  }
}
