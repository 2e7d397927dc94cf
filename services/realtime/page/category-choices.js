// @ts-check
/**
 * What a person hears about: for each category its channels, and how often its digest comes.
 *
 * @module
 */

import { CHANNELS, isServed } from "./channel-switches.js";
import { arrange, button, element, focusAfter } from "./dom.js";
import { icon } from "./icons.js";

/** @import { PreferencesLabels } from "./labels.js" */
/** @import { CategoryChoice, ChannelName, OfferedCategory, OwnPreferences, Preferences, Rhythm } from "./types.js" */

/** @typedef {(change: (shown: Preferences) => OwnPreferences) => Promise<boolean>} SaveChoice */

export class CategoryChoices {
  #labels;
  #save;
  /** What is shown, by the category's name. @type {Map<string, CategoryCard>} */
  #cards = new Map();
  #list = element("div", { class: "cards" });

  /**
   * @param {PreferencesLabels} labels
   * @param {SaveChoice} save
   */
  constructor(labels, save) {
    this.#labels = labels;
    this.#save = save;
    this.element = element("section", { class: "categories", part: "categories", hidden: true });
    this.element.append(element("h3", {}, labels.categoriesTitle), this.#list);
  }

  /** @param {Preferences} preferences A server of the release before offers nothing. */
  show({ offered = [], categories = {} }) {
    const before = this.#cards;
    this.#cards = new Map();
    for (const category of offered) {
      const known = before.get(category.name);
      const card = known?.fits(category) ? known : new CategoryCard(category, this.#labels, this.#save);
      card.show(category, categories[category.name]);
      this.#cards.set(category.name, card);
    }
    arrange(this.#list, [...this.#cards.values()].map((card) => card.element));
    this.element.hidden = !offered.length;
  }
}

class CategoryCard {
  #name;
  #labels;
  #save;
  /** What the card was drawn for; another shape is another card. */
  #shape;
  /** @type {Map<ChannelName, HTMLInputElement>} */
  #boxes = new Map();
  /** @type {HTMLSelectElement | null} */
  #digest = null;
  #unsubscribed;
  #reset;

  /**
   * @param {OfferedCategory} category
   * @param {PreferencesLabels} labels
   * @param {SaveChoice} save
   */
  constructor(category, labels, save) {
    this.#name = category.name;
    this.#labels = labels;
    this.#save = save;
    this.#shape = shapeOf(category);
    this.#unsubscribed = element("p", { class: "unsubscribed" }, labels.unsubscribed);
    this.#reset = button(labels.reset, "quiet reset", () => this.#backToUsual());
    this.element = element("fieldset", { class: "card" });
    this.element.append(element("legend", {}, element("bdi", {}, category.title)));
    if (category.policy === "required") this.element.append(...this.#fixed(category));
    else this.element.append(...this.#choices(category));
    if (category.digest) this.element.append(this.#digestChoice(category.digest.choices));
    this.element.append(this.#reset);
  }

  /** @param {OfferedCategory} category */
  fits(category) {
    return this.#shape === shapeOf(category);
  }

  /**
   * @param {OfferedCategory} category
   * @param {CategoryChoice} [own]
   */
  show({ channels, digest, unsubscribed }, own) {
    for (const [channel, box] of this.#boxes) box.checked = channels[channel].on;
    if (this.#digest) this.#digest.value = digest?.chosen ?? "";
    this.#unsubscribed.hidden = !unsubscribed || !isServed(channels.email.rule);
    this.#reset.hidden = !own || !Object.values(own).some((chosen) => chosen !== null);
  }

  /** @param {OfferedCategory} category */
  #fixed({ channels }) {
    const on = CHANNELS.filter((channel) => channels[channel].on);
    const names = on.map((channel) => {
      return element("li", { class: "fixed" }, icon("check"), this.#labels.channels[channel].name);
    });
    const reason = element("p", {}, element("strong", {}, this.#labels.required), ` · ${this.#labels.requiredAbout}`);
    return [reason, element("ul", { class: "chips" }, ...names)];
  }

  /** @param {OfferedCategory} category */
  #choices({ policy, channels }) {
    const chips = CHANNELS.filter((channel) => isServed(channels[channel].rule)).map((channel) => {
      const box = element("input", { type: "checkbox" });
      box.addEventListener("change", () => void this.#choose({ [channel]: box.checked }));
      this.#boxes.set(channel, box);
      return element("label", { class: "chip" }, box, this.#labels.channels[channel].name);
    });
    const about = policy === "opt_in" ? [element("p", {}, this.#labels.optInAbout)] : [];
    return [...about, element("div", { class: "chips" }, ...chips), this.#unsubscribed];
  }

  /** @param {Rhythm[]} rhythms */
  #digestChoice(rhythms) {
    const select = element("select", {}, element("option", { value: "" }, this.#labels.usual));
    for (const rhythm of rhythms) select.append(element("option", { value: rhythm }, this.#labels.digests[rhythm]));
    select.addEventListener("change", () => {
      void this.#choose({ digest: /** @type {Rhythm | ""} */ (select.value) || null });
    });
    this.#digest = select;
    return element("label", { class: "digest" }, this.#labels.digest, select);
  }

  /** @param {CategoryChoice} choice */
  #choose(choice) {
    const name = this.#name;
    return this.#save(({ categories }) => ({
      categories: { ...categories, [name]: { ...categories[name], ...choice } },
    }));
  }

  #backToUsual() {
    const name = this.#name;
    const saved = this.#save(({ categories }) => {
      const { [name]: _, ...others } = categories;
      return { categories: others };
    });
    // The button is gone, and with it the focus.
    void focusAfter(saved, () => this.element.querySelector(/** @type {"input"} */ ("input, select")));
  }
}

/** @param {OfferedCategory} category */
function shapeOf({ title, policy, channels, digest }) {
  const fixed = policy === "required" ? CHANNELS.map((channel) => channels[channel].on) : [];
  const served = CHANNELS.map((channel) => isServed(channels[channel].rule));
  return JSON.stringify([title, policy, fixed, served, digest?.choices]);
}
