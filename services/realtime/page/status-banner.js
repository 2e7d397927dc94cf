// @ts-check
/**
 * The line that tells how the publisher's system is doing.
 *
 * @module
 */

import { element } from "./dom.js";
import { icon } from "./icons.js";

/** @import { StatusFrame } from "./types.js" */

/** Words of operators for the same three things; any other word is shown as it is, without a colour. */
const TONES = {
  success: ["operational", "ok", "up", "normal", "healthy", "resolved", "online"],
  warning: ["degraded", "partial", "partial_outage", "maintenance", "warning", "slow"],
  critical: ["outage", "major_outage", "down", "critical", "offline", "error"],
};

/** @param {StatusFrame} status */
export function statusTone({ status }) {
  const word = String(status ?? "").toLowerCase().replaceAll(/[\s-]/g, "_");
  for (const [tone, words] of Object.entries(TONES)) if (words.includes(word)) return tone;
  return "info";
}

/**
 * Name the services a status speaks of.
 *
 * @param {StatusFrame["services"]} services A list of names, or the state of each by its name.
 */
export function statusServices(services) {
  if (!services) return "";
  if (Array.isArray(services)) return services.map(String).join(", ");
  return Object.entries(services)
    .map(([name, state]) => (typeof state === "string" ? `${name}: ${state}` : name))
    .join(", ");
}

export class StatusBanner {
  constructor() {
    this.element = element("div", { class: "status", role: "status", part: "status" });
    this.clear();
  }

  clear() {
    this.element.hidden = true;
    this.element.replaceChildren();
  }

  /** @param {StatusFrame} status */
  show(status) {
    if (!status.message) return this.clear();
    const tone = statusTone(status);
    const services = statusServices(status.services);
    this.element.dataset.tone = tone;
    const words = element("p", {}, element("strong", {}, status.message));
    if (services) words.append(element("span", {}, services));
    this.element.replaceChildren(icon(tone === "critical" ? "error" : tone), words);
    this.element.hidden = false;
  }
}
