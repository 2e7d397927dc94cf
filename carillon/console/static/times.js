// @ts-check
/** Times as the reader's clock shows them; the one that the server wrote, in UTC, comes with the pointer. */

const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const year = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** @param {ParentNode} within */
export function showTimes(within) {
  const now = new Date();
  for (const each of within.querySelectorAll("time[datetime]")) {
    const moment = new Date(/** @type {HTMLTimeElement} */ (each).dateTime);
    if (Number.isNaN(moment.valueOf()) || each.hasAttribute("title")) {
      continue;
    }
    each.setAttribute("title", each.textContent ?? "");
    each.textContent = clock(moment, now);
  }
}

/**
 * @param {Date} moment
 * @param {Date} now
 */
export function clock(moment, now) {
  if (moment.toDateString() === now.toDateString()) {
    return time.format(moment);
  }
  const date = moment.getFullYear() === now.getFullYear() ? day : year;
  return `${date.format(moment)}, ${time.format(moment)}`;
}
