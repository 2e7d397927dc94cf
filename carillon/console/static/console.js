// @ts-check
/**
 * What the console's pages do beyond links and forms: times in the reader's zone, and pages that stay fresh. Every page
 * works without it.
 */

import { keepFresh } from "./live.js";
import { showTimes } from "./times.js";

showTimes(document);
keepFresh();

// A page that was opened by a one-time link has one button.
const press = document.querySelector("form[data-press]");
if (press instanceof HTMLFormElement) {
  press.requestSubmit();
}
