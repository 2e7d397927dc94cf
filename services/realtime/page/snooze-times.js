// @ts-check
/**
 * When a person may want something back: the times of the "snooze" menu, by the clock of the person's own device.
 *
 * @module
 */

/** In the evening of that hour, and in the morning of that one. */
const EVENING_H = 18;
const MORNING_H = 9;
/** The evening is offered until so long before it begins. */
const BEFORE_EVENING_H = 1;
const MONDAY = 1;

/** @typedef {"hour" | "evening" | "tomorrow" | "monday"} SnoozeName */

/**
 * The choices that make sense now, soonest first.
 *
 * @param {Date} [now]
 * @returns {{name: SnoozeName, at_s: number}[]} Epoch seconds. Monday is left out where it is tomorrow.
 */
export function snoozeTimes(now = new Date()) {
  const toMonday = (MONDAY - now.getDay() + 7) % 7 || 7;
  /** @type {{name: SnoozeName, at: Date}[]} */
  const times = [
    { name: "hour", at: new Date(now.getTime() + 3_600_000) },
    { name: "evening", at: clock(now, 0, EVENING_H) },
    { name: "tomorrow", at: clock(now, 1, MORNING_H) },
    { name: "monday", at: clock(now, toMonday, MORNING_H) },
  ];
  const late = now >= clock(now, 0, EVENING_H - BEFORE_EVENING_H);
  return times
    .filter(({ name }) => !(name === "evening" && late) && !(name === "monday" && toMonday === 1))
    .map(({ name, at }) => ({ name, at_s: Math.round(at.getTime() / 1000) }));
}

/**
 * @param {Date} day
 * @param {number} daysOn
 * @param {number} hour
 */
function clock(day, daysOn, hour) {
  return new Date(day.getFullYear(), day.getMonth(), day.getDate() + daysOn, hour);
}
