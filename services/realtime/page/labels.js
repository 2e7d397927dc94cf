// @ts-check
/**
 * The words of both elements, in ten languages.
 *
 * English is always there; each other language is a module of its own, and is fetched when it is wanted. An element's
 * `labels` property replaces single words or all.
 *
 * @module
 */

import { labels as english } from "./languages/en.js";
import { Times } from "./times.js";

/**
 * The forms of one phrase, by the plural category of its number (Unicode CLDR, Language Plural Rules). `{n}` stands for
 * the number. "=0" goes before the category of nought.
 *
 * @typedef {Partial<Record<Intl.LDMLPluralRule | "=0", string>> & {other: string}} Forms
 */

/** @typedef {(forms: Forms) => (n: number) => string} Plural */
/** @typedef {ReturnType<typeof english>} AllLabels */
/** @typedef {AllLabels["inbox"]} Labels */
/** @typedef {AllLabels["preferences"]} PreferencesLabels */

/**
 * A language, ready to speak.
 *
 * @typedef {object} Language
 * @property {string} tag The language of the labels, for `lang`.
 * @property {"ltr" | "rtl" | null} direction For `dir`; null where the labels are English for want of the language.
 * @property {Labels} inbox
 * @property {PreferencesLabels} preferences
 * @property {Times} times
 */

// Written out one by one, so that a bundler finds them.
const MODULES = {
  ar: () => import("./languages/ar.js"),
  de: () => import("./languages/de.js"),
  es: () => import("./languages/es.js"),
  fr: () => import("./languages/fr.js"),
  it: () => import("./languages/it.js"),
  ja: () => import("./languages/ja.js"),
  nl: () => import("./languages/nl.js"),
  pl: () => import("./languages/pl.js"),
  pt: () => import("./languages/pt.js"),
};

export const LANGUAGES = ["en", ...Object.keys(MODULES)].sort();

const RIGHT_TO_LEFT = ["ar"];

export const { inbox: LABELS, preferences: PREFERENCES_LABELS } = english(pluralOf("en"));

/** What is spoken until another language has come. */
export const ENGLISH = languageOf("en", english(pluralOf("en")), "en");

/**
 * Find out which language an element is to speak: its `locale` attribute, else the `lang` of the document or of what the
 * element stands in, else the browser's.
 *
 * @param {Element} element
 * @returns {string} A BCP 47 tag.
 */
export function localeOf(element) {
  const stated = element.closest("[lang]:not([lang=''])")?.getAttribute("lang");
  const wanted = [element.getAttribute("locale"), stated, document.documentElement.lang, navigator.language];
  return wanted.find((tag) => tag && isTag(tag)) ?? "en";
}

/**
 * Fetch the words of a language. For one that is not there, and where the module cannot be had, they are English; the
 * times are of the locale all the same.
 *
 * @param {string} locale A BCP 47 tag, such as "pt-BR".
 * @returns {Promise<Language>}
 */
export async function loadLanguage(locale) {
  const { language } = new Intl.Locale(locale);
  if (language === "en") return languageOf("en", english(pluralOf(locale)), locale);
  const fetchModule = Object.hasOwn(MODULES, language) ? MODULES[/** @type {keyof typeof MODULES} */ (language)] : null;
  const module = await fetchModule?.().catch(() => null);
  if (module) return languageOf(language, module.labels(pluralOf(locale)), locale);
  return { ...languageOf("en", english(pluralOf("en")), locale), direction: null };
}

/**
 * @param {string} tag
 * @param {AllLabels} labels
 * @param {string} locale
 * @returns {Language}
 */
function languageOf(tag, { inbox, preferences }, locale) {
  const direction = RIGHT_TO_LEFT.includes(tag) ? "rtl" : "ltr";
  return { tag, direction, inbox, preferences, times: new Times(locale) };
}

/**
 * Choose among forms by the rules of a locale, and write numbers its way.
 *
 * @param {string} locale
 * @returns {Plural}
 */
function pluralOf(locale) {
  const rules = new Intl.PluralRules(locale);
  const number = new Intl.NumberFormat(locale);
  return (forms) => (n) => {
    const form = (n === 0 ? forms["=0"] : undefined) ?? forms[rules.select(n)] ?? forms.other;
    return form.replace("{n}", number.format(n));
  };
}

/** @param {string} tag */
function isTag(tag) {
  try {
    return Boolean(new Intl.Locale(tag));
  } catch {
    return false;
  }
}
