// @ts-check
/**
 * The switches of the four channels, for whatever no category decides.
 *
 * @module
 */

import { element } from "./dom.js";

/** @import { PreferencesLabels } from "./labels.js" */
/** @import { ChannelName, OwnPreferences, Preferences } from "./types.js" */

/** Who has decided about a channel that the system does without: there is nothing to choose. */
const LEFT_OUT = "system:without";

export const CHANNELS = /** @type {const} */ (["realtime", "email", "sms", "push"]);

/** @param {string} [rule] Who has decided; a server of the release before does not say. */
export function isServed(rule) {
  return rule !== LEFT_OUT;
}

export class ChannelSwitches {
  /** @type {Map<ChannelName, HTMLInputElement>} */
  #switches = new Map();
  /** @type {Map<ChannelName, HTMLElement>} */
  #rows = new Map();

  /**
   * @param {PreferencesLabels} labels
   * @param {(change: OwnPreferences) => void} save
   */
  constructor(labels, save) {
    for (const channel of CHANNELS) {
      const described = `${channel}-about`;
      const box = element("input", { type: "checkbox", role: "switch", id: channel, "aria-describedby": described });
      box.addEventListener("change", () => save({ [channel]: box.checked }));
      this.#switches.set(channel, box);
      const { name, about } = labels.channels[channel];
      const words = element("div", {}, element("label", { for: channel }, name));
      words.append(element("p", { id: described }, about));
      this.#rows.set(channel, element("div", { class: "row" }, words, box));
    }
    this.element = element("fieldset", { class: "channels", part: "channels", disabled: true });
    this.element.append(element("legend", {}, labels.title), ...this.#rows.values(), element("p", { class: "note" }, labels.note));
  }

  /** @param {Preferences} preferences */
  show(preferences) {
    for (const [channel, box] of this.#switches) box.checked = Boolean(preferences[channel]);
    for (const [channel, row] of this.#rows) row.hidden = !isServed(preferences.rules?.[channel]);
    this.element.disabled = false;
  }
}
