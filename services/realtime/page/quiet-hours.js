// @ts-check
/**
 * When a person wants to hear nothing that can wait: windows of days and times, and the time zone that they are read in.
 *
 * @module
 */

import { arrange, button, element, focusAfter } from "./dom.js";
import { icon } from "./icons.js";
import { TypedField } from "./typed-field.js";

/** @import { PreferencesLabels } from "./labels.js" */
/** @import { OwnPreferences, Preferences, QuietHours as Hours, QuietWindow, Weekday } from "./types.js" */

/** @type {Weekday[]} */
const WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
/** A Monday, from which the names of the days are counted. */
const MONDAY = Date.UTC(2024, 0, 1, 12);
const DAY_MS = 86_400_000;
/** What a window is before somebody changes it. */
const NIGHT = { from: "22:00", to: "07:00" };
/** The server takes no more. */
const MOST_WINDOWS = 21;

export class QuietHours {
  #labels;
  #locale;
  #save;
  /** @type {Preferences | null} */
  #shown = null;
  /** @type {WindowRow[]} */
  #rows = [];
  #none;
  #list = element("div", { class: "cards" });
  #add;
  #zone;
  #zoneRow;

  /**
   * @param {PreferencesLabels} labels
   * @param {string} locale A BCP 47 tag.
   * @param {(change: (shown: Preferences) => OwnPreferences) => Promise<boolean>} save
   */
  constructor(labels, locale, save) {
    this.#labels = labels;
    this.#locale = locale;
    this.#save = save;
    this.#none = element("p", {}, labels.quietNone);
    this.#add = button(labels.addWindow, "plain add", () => this.#addWindow());
    const options = zones().map((zone) => element("option", { value: zone }));
    const zone = { type: "text", class: "zone", list: "zones", autocomplete: "off", spellcheck: "false" };
    this.#zone = new TypedField(zone, (typed) => this.#zoneChosen(typed));
    this.#zoneRow = element("label", { class: "zone-row" }, labels.timezone, this.#zone.input);
    this.element = element("section", { class: "quiet-hours", part: "quiet-hours", hidden: true });
    this.element.append(
      element("h3", {}, labels.quietTitle), element("p", {}, labels.quietAbout), this.#none, this.#list, this.#add,
      this.#zoneRow, element("datalist", { id: "zones" }, ...options),
    );
  }

  /** @param {Preferences} preferences */
  show(preferences) {
    this.#shown = preferences;
    const windows = preferences.quiet_hours?.windows ?? [];
    while (this.#rows.length > windows.length) this.#rows.pop();
    for (const [index, window] of windows.entries()) {
      this.#rows[index] ??= new WindowRow(this.#labels, this.#locale, {
        changed: (changed) => void this.#replace(index, changed),
        removed: () => this.#remove(index),
      });
      const name = windows.length > 1 ? `${this.#labels.quietTitle} ${index + 1}` : this.#labels.quietTitle;
      this.#rows[index].show(window, name);
    }
    arrange(this.#list, this.#rows.map((row) => row.element));
    this.#none.hidden = windows.length > 0;
    this.#zoneRow.hidden = !windows.length;
    this.#add.hidden = windows.length >= MOST_WINDOWS;
    this.#zone.show(preferences.quiet_hours?.timezone ?? preferences.timezone);
    // A server of the release before knows none.
    this.element.hidden = preferences.quiet_hours === undefined;
  }

  /**
   * @param {(windows: QuietWindow[]) => QuietWindow[]} change
   * @param {string} [zone] Another time zone.
   */
  #change(change, zone) {
    return this.#save(({ quiet_hours: known }) => {
      const windows = change(known?.windows ?? []);
      const timezone = zone ?? (known?.windows?.length ? known.timezone : known?.timezone ?? browserZone());
      /** @type {Hours} */
      const quiet_hours = timezone ? { timezone, windows } : { windows };
      return { quiet_hours };
    });
  }

  #addWindow() {
    void focusAfter(this.#change((windows) => [...windows, NIGHT]), () => this.#rows.at(-1)?.first);
  }

  /**
   * @param {number} index
   * @param {QuietWindow} changed
   */
  #replace(index, changed) {
    return this.#change((windows) => windows.map((window, at) => (at === index ? changed : window)));
  }

  /** @param {number} index */
  #remove(index) {
    void focusAfter(this.#change((windows) => windows.filter((_, at) => at !== index)), () => this.#add);
  }

  /** @param {string} typed */
  #zoneChosen(typed) {
    const zone = zones().find((known) => known.toLowerCase() === typed.trim().toLowerCase());
    if (zone) void this.#change((windows) => windows, zone);
    else if (this.#shown) this.show(this.#shown);
  }
}

class WindowRow {
  #changed;
  /** @type {Map<Weekday, HTMLInputElement>} */
  #days = new Map();
  #from = new TypedField({ type: "time", required: true }, () => this.#save());
  #to = new TypedField({ type: "time", required: true }, () => this.#save());
  #nextDay;
  #legend = element("legend", { class: "hidden-text" });

  /**
   * @param {PreferencesLabels} labels
   * @param {string} locale
   * @param {{changed: (window: QuietWindow) => void, removed: () => void}} act
   */
  constructor(labels, locale, act) {
    this.#changed = act.changed;
    const short = new Intl.DateTimeFormat(locale, { weekday: "short", timeZone: "UTC" });
    const long = new Intl.DateTimeFormat(locale, { weekday: "long", timeZone: "UTC" });
    const days = weekdays(locale).map((day) => {
      const at = MONDAY + WEEKDAYS.indexOf(day) * DAY_MS;
      const box = element("input", { type: "checkbox", "aria-label": long.format(at) });
      // A window without a day would be none: the last one stays.
      box.addEventListener("click", (event) => {
        if (!this.#chosenDays().length) event.preventDefault();
      });
      box.addEventListener("change", () => this.#save());
      this.#days.set(day, box);
      return element("label", { class: "day" }, box, short.format(at));
    });
    this.#nextDay = element("span", { class: "next-day" }, labels.nextDay);
    const from = element("label", {}, labels.from, this.#from.input);
    const to = element("label", {}, labels.to, this.#to.input);
    const remove = button(labels.removeWindow, "quiet remove", act.removed, icon("close"));
    this.element = element("fieldset", { class: "card window" });
    this.element.append(
      this.#legend,
      element("div", { class: "days", role: "group", "aria-label": labels.days }, ...days),
      element("div", { class: "times" }, from, to, this.#nextDay, remove),
    );
  }

  /**
   * @param {QuietWindow} window
   * @param {string} name What tells it from the others.
   */
  show({ days = WEEKDAYS, from, to }, name) {
    this.#legend.textContent = name;
    for (const [day, box] of this.#days) box.checked = days.includes(day);
    this.#from.show(from);
    this.#to.show(to);
    this.#nextDay.hidden = to > from;
  }

  /** What is chosen first. */
  get first() {
    return this.#from.input;
  }

  #chosenDays() {
    return WEEKDAYS.filter((day) => this.#days.get(day)?.checked);
  }

  #save() {
    const from = this.#from.input.value;
    const to = this.#to.input.value;
    const days = this.#chosenDays();
    this.#nextDay.hidden = to > from;
    this.#changed(days.length < WEEKDAYS.length ? { days, from, to } : { from, to });
  }
}

/** @returns {string[]} */
function zones() {
  const known = Intl.supportedValuesOf?.("timeZone") ?? [browserZone()];
  return known.includes("UTC") ? known : [...known, "UTC"];
}

function browserZone() {
  return new Intl.DateTimeFormat().resolvedOptions().timeZone;
}

/**
 * The days of the week in the order of a locale.
 *
 * @param {string} locale
 */
function weekdays(locale) {
  // A method in the standard, a property in browsers of some years ago, and nothing in others.
  const found = /** @type {Intl.Locale & {getWeekInfo?: () => {firstDay: number}, weekInfo?: {firstDay: number}}} */ (
    new Intl.Locale(locale)
  );
  const first = (found.getWeekInfo?.() ?? found.weekInfo)?.firstDay ?? 1;
  return [...WEEKDAYS.slice(first - 1), ...WEEKDAYS.slice(0, first - 1)];
}
