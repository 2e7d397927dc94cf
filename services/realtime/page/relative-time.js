// @ts-check
/**
 * "5 minutes ago", in the language of the page.
 *
 * @module
 */

/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const UNITS_S = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];
/** Older than this, a date says more than a count of days. */
const RELATIVE_LIMIT_S = 7 * 86_400;

const locale = globalThis.document?.documentElement.lang || undefined;
const relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "short" });
const date = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short", year: "numeric" });
const full = new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "medium" });

/**
 * @param {number} at_s Epoch seconds.
 * @param {number} [now_s]
 */
export function relativeTime(at_s, now_s = Date.now() / 1000) {
  const age_s = now_s - at_s;
  if (Math.abs(age_s) > RELATIVE_LIMIT_S) return date.format(at_s * 1000);
  for (const [unit, length_s] of UNITS_S) {
    if (Math.abs(age_s) >= length_s) return relative.format(-Math.trunc(age_s / length_s), unit);
  }
  return relative.format(0, "second");
}

/** @param {number} at_s Epoch seconds. */
export function fullTime(at_s) {
  return full.format(at_s * 1000);
}
