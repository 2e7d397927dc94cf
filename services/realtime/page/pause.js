// @ts-check
/**
 * Holding everything back for a while.
 *
 * @module
 */

import { button, element, focusSoon } from "./dom.js";
import { snoozeTimes } from "./snooze-times.js";

/** @import { Language, PreferencesLabels } from "./labels.js" */
/** @import { OwnPreferences, Preferences } from "./types.js" */

/** A time that is in the past by every clock. */
const DAY_S = 86_400;
/** Browsers count no longer: 2^31 milliseconds. */
const LONGEST_MS = 2 ** 31 - 1;

export class Pause {
  #labels;
  #times;
  #save;
  #content = element("div", { class: "pause-choices" });
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #ending;

  /**
   * @param {PreferencesLabels} labels
   * @param {Language["times"]} times
   * @param {(change: (shown: Preferences) => OwnPreferences) => Promise<boolean>} save
   */
  constructor(labels, times, save) {
    this.#labels = labels;
    this.#times = times;
    this.#save = save;
    this.element = element("section", { class: "pause", part: "pause", hidden: true });
    this.element.append(element("h3", {}, labels.pauseTitle), element("p", {}, labels.pauseAbout), this.#content);
  }

  /** @param {Preferences} preferences */
  show(preferences) {
    clearTimeout(this.#ending);
    const until_s = preferences.snooze_until ?? 0;
    const left_ms = until_s * 1000 - Date.now();
    // A server of the release before knows none.
    this.element.hidden = preferences.snooze_until === undefined;
    const held = this.#content.matches(":focus-within");
    if (left_ms > 0) {
      this.#ending = setTimeout(() => this.show(preferences), Math.min(left_ms, LONGEST_MS));
      const past_s = () => Math.floor(Date.now() / 1000) - DAY_S;
      const resume = button(this.#labels.resume, "primary resume", () => this.#choose(past_s()));
      const words = element("p", { class: "paused" }, this.#labels.pausedUntil(this.#times.upcoming(until_s)));
      this.#content.replaceChildren(words, resume);
    } else {
      const choices = snoozeTimes().map(({ name, at_s }) => {
        return button(this.#labels.pauseChoices[name], "plain", () => this.#choose(at_s));
      });
      this.#content.replaceChildren(...choices);
    }
    // What had the focus is gone.
    if (held) focusSoon(this.#content.querySelector("button"));
  }

  stop() {
    clearTimeout(this.#ending);
  }

  /** @param {number} snooze_until */
  #choose(snooze_until) {
    void this.#save(() => ({ snooze_until }));
  }
}
