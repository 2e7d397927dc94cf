// @ts-check
/**
 * Points in time in the words of one language: "5 minutes ago", "Monday, 09:00".
 *
 * @module
 */

/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const UNITS_S = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];
/** Further away than this, a date says more than a count of days or the name of a weekday. */
const NEAR_S = 7 * 86_400;
/** Nearer than this, a weekday is no other one of the same name. */
const WEEK_S = 6 * 86_400;

export class Times {
  #relative;
  #date;
  #full;
  #clock;
  #weekday;
  #day;

  /** @param {string} [locale] A BCP 47 tag; the browser's own language when left out. */
  constructor(locale) {
    this.#relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "short" });
    this.#date = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short", year: "numeric" });
    this.#full = new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "medium" });
    /** @type {Intl.DateTimeFormatOptions} */
    const clock = { hour: "numeric", minute: "2-digit" };
    this.#clock = new Intl.DateTimeFormat(locale, clock);
    this.#weekday = new Intl.DateTimeFormat(locale, { weekday: "long", ...clock });
    this.#day = new Intl.DateTimeFormat(locale, { weekday: "short", day: "numeric", month: "short", ...clock });
  }

  /**
   * "5 minutes ago", or a date.
   *
   * @param {number} at_s Epoch seconds.
   * @param {number} [now_s]
   */
  relative(at_s, now_s = Date.now() / 1000) {
    const age_s = now_s - at_s;
    if (Math.abs(age_s) > NEAR_S) return this.#date.format(at_s * 1000);
    for (const [unit, length_s] of UNITS_S) {
      if (Math.abs(age_s) >= length_s) return this.#relative.format(-Math.trunc(age_s / length_s), unit);
    }
    return this.#relative.format(0, "second");
  }

  /** @param {number} at_s Epoch seconds. */
  full(at_s) {
    return this.#full.format(at_s * 1000);
  }

  /**
   * A time to come: of today the clock alone, of the next days the weekday with it, beyond that the date.
   *
   * @param {number} at_s Epoch seconds.
   * @param {number} [now_s]
   */
  upcoming(at_s, now_s = Date.now() / 1000) {
    const at = new Date(at_s * 1000);
    if (at.toDateString() === new Date(now_s * 1000).toDateString()) return this.#clock.format(at);
    return (at_s - now_s < WEEK_S ? this.#weekday : this.#day).format(at);
  }
}
