// @ts-check
/**
 * The tabs of the inbox: one for all entries, and one for each category that there is.
 *
 * They are hidden while all entries are of one kind. A tab shows how many of its entries are unread; the inbox states
 * the numbers, and in between they are counted here.
 *
 * @module
 */

import { arrange, element } from "./dom.js";

/** @import { Labels } from "./labels.js" */
/** @import { CategoryCount } from "./types.js" */

const BADGE_LIMIT = 99;

/**
 * The title of a category, in the page's words where it has some.
 *
 * @param {string} name Such as "order-updates".
 * @param {Labels} labels
 */
export function categoryTitle(name, labels) {
  if (Object.hasOwn(labels.categories, name)) return labels.categories[name] ?? name;
  const words = name.replaceAll(/[-_.]+/g, " ").trim() || name;
  return words.charAt(0).toLocaleUpperCase() + words.slice(1);
}

/**
 * @typedef {object} Tab
 * @property {string | null | undefined} category Undefined for all, null for entries without one.
 * @property {HTMLButtonElement} button
 * @property {HTMLElement} count
 * @property {HTMLElement} spoken
 * @property {number} unread
 */

export class CategoryTabs {
  #labels;
  #chosen;
  /** @type {Map<string | null | undefined, Tab>} */
  #tabs = new Map();
  /** @type {string | null | undefined} */
  #category;
  #made = 0;

  /**
   * @param {Labels} labels
   * @param {(category: string | null | undefined) => void} chosen
   */
  constructor(labels, chosen) {
    this.#labels = labels;
    this.#chosen = chosen;
    this.element = element("div", { class: "tabs", role: "tablist", "aria-label": labels.categoriesTitle });
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.state([]);
  }

  /** The chosen category; undefined for all, null for entries without one. */
  get category() {
    return this.#category;
  }

  /** The id of the chosen tab, or null while there are no tabs to be seen. */
  get chosenId() {
    return this.element.hidden ? null : (this.#tabs.get(this.#category)?.button.id ?? null);
  }

  /**
   * Take the inbox's word. A tab that is chosen stays, even if nothing is left of its category.
   *
   * @param {CategoryCount[]} counts
   */
  state(counts) {
    const stated = new Map(counts.map(({ name, unread }) => [name ?? null, unread]));
    if (this.#category !== undefined && !stated.has(this.#category)) stated.set(this.#category, 0);
    // By title, and what has no category last.
    const names = [...stated.keys()].filter((name) => name !== null);
    names.sort((one, other) => this.#title(one).localeCompare(this.#title(other)));
    const shown = [undefined, ...names, ...(stated.has(null) ? [null] : [])];
    const before = this.#tabs;
    this.#tabs = new Map(shown.map((category) => [category, before.get(category) ?? this.#make(category)]));
    for (const [category, unread] of stated) this.#count(category, unread);
    arrange(
      this.element,
      [...this.#tabs.values()].map(({ button }) => button),
    );
    this.element.hidden = stated.size < 2 && this.#category === undefined;
  }

  /**
   * Count what arrived, was read or was taken away. An unknown category gets its tab.
   *
   * @param {string | null | undefined} category
   * @param {number} step
   */
  step(category, step) {
    const name = category ?? null;
    const tab = this.#tabs.get(name);
    if (tab) return this.#count(name, Math.max(0, tab.unread + step));
    const known = [...this.#tabs.values()].filter((other) => other.category !== undefined);
    const counts = known.map((other) => ({ name: other.category ?? null, unread: other.unread }));
    this.state([...counts, { name, unread: Math.max(0, step) }]);
  }

  /** Everything was read. */
  clear() {
    for (const { category } of this.#tabs.values()) this.#count(category, 0);
  }

  /** @param {string | null | undefined} category */
  #make(category) {
    const count = element("span", { class: "count", "aria-hidden": "true" });
    const spoken = element("span", { class: "hidden-text" });
    const chosen = category === this.#category;
    const button = element(
      "button",
      { type: "button", class: "tab", role: "tab", id: `tab-${this.#made++}`, "aria-controls": "list", part: "tab" },
      element("span", { class: "tab-title" }, this.#title(category)),
      count,
      spoken,
    );
    button.setAttribute("aria-selected", String(chosen));
    button.tabIndex = chosen ? 0 : -1;
    button.addEventListener("click", () => this.#choose(category));
    count.hidden = true;
    return { category, button, count, spoken, unread: 0 };
  }

  /** @param {string | null | undefined} category */
  #title(category) {
    if (category === undefined) return this.#labels.allCategories;
    return category === null ? this.#labels.noCategory : categoryTitle(category, this.#labels);
  }

  /**
   * @param {string | null | undefined} category
   * @param {number} unread
   */
  #count(category, unread) {
    const tab = this.#tabs.get(category);
    if (!tab) return;
    tab.unread = unread;
    tab.count.hidden = unread === 0;
    tab.count.textContent = unread > BADGE_LIMIT ? `${BADGE_LIMIT}+` : String(unread);
    tab.spoken.textContent = unread === 0 ? "" : `, ${this.#labels.unreadCount(unread)}`;
  }

  /** @param {string | null | undefined} category */
  #choose(category) {
    const tab = this.#tabs.get(category);
    if (!tab || category === this.#category) return;
    this.#category = category;
    for (const { category: each, button } of this.#tabs.values()) {
      button.setAttribute("aria-selected", String(each === category));
      button.tabIndex = each === category ? 0 : -1;
    }
    tab.button.scrollIntoView({ block: "nearest", inline: "nearest" });
    this.#chosen(category);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const tabs = [...this.#tabs.values()];
    const at = tabs.findIndex(({ category }) => category === this.#category);
    const forward = getComputedStyle(this.element).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
    const back = forward === "ArrowLeft" ? "ArrowRight" : "ArrowLeft";
    const last = tabs.length - 1;
    const to = { [forward]: at < last ? at + 1 : 0, [back]: at > 0 ? at - 1 : last, Home: 0, End: last }[event.key];
    const tab = to === undefined ? undefined : tabs[to];
    if (!tab) return;
    // These keys move in the list, too.
    event.preventDefault();
    event.stopPropagation();
    this.#choose(tab.category);
    tab.button.focus();
  }
}
