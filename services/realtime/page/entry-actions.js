// @ts-check
/**
 * The buttons and links that a publisher gives a notification.
 *
 * @module
 */

import { element } from "./dom.js";
import { icon } from "./icons.js";

/** @import { Labels } from "./labels.js" */
/** @import { Action, InboxNotification } from "./types.js" */

/**
 * Is told of a click; it may keep a link from being followed. Ends when the server has answered.
 *
 * @typedef {(action: Action, event: Event) => Promise<void>} Press
 */

/** More of them are not shown. The server takes no more either. */
const MOST = 3;

/**
 * Read an address that may become a link: only http and https, other schemes may run something.
 *
 * @param {unknown} address
 */
export function webAddress(address) {
  if (typeof address !== "string" || !URL.canParse(address)) return null;
  const url = new URL(address);
  return url.protocol === "https:" || url.protocol === "http:" ? url : null;
}

/**
 * Make the buttons of a notification's actions. Of those that tell the publisher something, one is pressed: it is named
 * as done then, and the others are gone. Links stay.
 *
 * @param {InboxNotification} notification
 * @param {Labels} labels
 * @param {Press} press
 */
export function actionButtons({ actions, acted }, labels, press) {
  const shown = (Array.isArray(actions) ? actions : []).slice(0, MOST);
  const done = shown.find((action) => action.id === acted && !isLink(action));
  return shown.flatMap((action) => {
    const made = isLink(action) ? linkTo(action, labels, press) : buttonOf(action, done, labels, press);
    return made ? [made] : [];
  });
}

/** @param {Action} action */
export function isLink({ url }) {
  return url !== undefined && url !== null;
}

/**
 * @param {Action} action
 * @param {Labels} labels
 * @param {Press} press
 */
function linkTo(action, labels, press) {
  const url = webAddress(action.url);
  if (!url) return null;
  const made = element("a", { class: looks(action), href: url.href, target: "_blank", rel: "noopener noreferrer" });
  // The host is shown, so that nobody is told of one place and led to another.
  const host = element("bdi", { class: "host", dir: "ltr" }, url.host);
  const aside = element("span", { class: "hidden-text" }, `, ${labels.newTab}`);
  made.append(element("span", { class: "label" }, action.label), host, icon("external"), aside);
  made.addEventListener("click", (event) => void press(action, event));
  return made;
}

/**
 * @param {Action} action
 * @param {Action | undefined} done The one that was pressed.
 * @param {Labels} labels
 * @param {Press} press
 */
function buttonOf(action, done, labels, press) {
  if (done === action) {
    const mark = element("span", { class: "done" }, icon("check"));
    const words = element("span", { class: "label", "aria-hidden": "true" }, action.label);
    mark.append(words, element("span", { class: "hidden-text" }, labels.acted(action.label)));
    return mark;
  }
  if (done) return null;
  const made = element("button", { type: "button", class: looks(action) });
  made.append(element("span", { class: "label" }, action.label));
  made.addEventListener("click", async (event) => {
    made.setAttribute("aria-busy", "true");
    await press(action, event);
    made.removeAttribute("aria-busy");
  });
  return made;
}

/** @param {Action} action */
function looks({ style }) {
  return style === "primary" ? "action primary" : "action secondary";
}
