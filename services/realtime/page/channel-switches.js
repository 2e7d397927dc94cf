// @ts-check
/**
 * The switches of the four channels, for whatever no category decides.
 *
 * @module
 */

import { element } from "./dom.js";

/** @import { PreferencesLabels } from "./labels.js" */
/** @import { ChannelName, OwnPreferences, Preferences } from "./types.js" */

export const CHANNELS = /** @type {const} */ (["realtime", "email", "sms", "push"]);

export class ChannelSwitches {
  /** @type {Map<ChannelName, HTMLInputElement>} */
  #switches = new Map();

  /**
   * @param {PreferencesLabels} labels
   * @param {(change: OwnPreferences) => void} save
   */
  constructor(labels, save) {
    const rows = CHANNELS.map((channel) => {
      const described = `${channel}-about`;
      const box = element("input", { type: "checkbox", role: "switch", id: channel, "aria-describedby": described });
      box.addEventListener("change", () => save({ [channel]: box.checked }));
      this.#switches.set(channel, box);
      const { name, about } = labels.channels[channel];
      const words = element("div", {}, element("label", { for: channel }, name));
      words.append(element("p", { id: described }, about));
      return element("div", { class: "row" }, words, box);
    });
    this.element = element("fieldset", { class: "channels", part: "channels", disabled: true });
    this.element.append(element("legend", {}, labels.title), ...rows, element("p", { class: "note" }, labels.note));
  }

  /** @param {Preferences} preferences */
  show(preferences) {
    for (const [channel, box] of this.#switches) box.checked = Boolean(preferences[channel]);
    this.element.disabled = false;
  }
}
