// @ts-check
/**
 * Keeps `[data-live]` as the server has it. The server reads once for all who look, and sends what it wrote; the page
 * says when it has heard nothing for a while.
 */

import { clock, showTimes } from "./times.js";

// The server says something every few seconds. Longer than that, and longer than a page may take to be read.
const SILENT_MS = 20_000;

export function keepFresh() {
  const region = document.querySelector("[data-live]");
  const state = document.querySelector("[data-live-state]");
  if (!region || !(state instanceof HTMLElement)) {
    return;
  }
  let heard = new Date();
  let timer = 0;

  /** @param {"live" | "late" | "gone"} how @param {string} words */
  const say = (how, words) => {
    state.hidden = false;
    state.dataset.liveState = how;
    if (state.textContent !== words) {
      state.textContent = words;
    }
  };
  const silent = () => say("late", `Not live since ${clock(heard, new Date())}`);
  const hear = () => {
    heard = new Date();
    clearTimeout(timer);
    timer = setTimeout(silent, SILENT_MS);
    say("live", "Live");
  };

  const source = new EventSource(location.pathname + location.search);
  source.addEventListener("page", (event) => {
    hear();
    show(region, JSON.parse(event.data).html);
  });
  source.addEventListener("still", hear);
  source.addEventListener("trouble", (event) => {
    clearTimeout(timer);
    say("late", `${JSON.parse(event.data).words} Not live since ${clock(heard, new Date())}`);
  });
  source.addEventListener("error", () => {
    clearTimeout(timer);
    // Closed for good: the answer was a refusal, for instance after the session's end.
    if (source.readyState === EventSource.CLOSED) {
      say("gone", "Not live. Load the page again.");
    } else {
      silent();
    }
  });
  addEventListener("pagehide", () => source.close());
}

/**
 * @param {Element} region
 * @param {string} html
 */
function show(region, html) {
  const active = document.activeElement;
  // Nothing is taken from under somebody's hands: neither a field nor an open question.
  if (region.querySelector("details.act[open]") || (active && region.contains(active) && active.matches("input, select, textarea"))) {
    return;
  }
  const at = active && region.contains(active) ? places(region).indexOf(active) : -1;
  const open = new Set([...region.querySelectorAll("details[open][id]")].map((each) => each.id));
  region.innerHTML = html;
  for (const each of region.querySelectorAll("input[name=csrf]")) {
    /** @type {HTMLInputElement} */ (each).value = token();
  }
  for (const each of region.querySelectorAll("details[id]")) {
    /** @type {HTMLDetailsElement} */ (each).open = open.has(each.id);
  }
  showTimes(region);
  if (at >= 0) {
    const next = places(region)[at];
    if (next instanceof HTMLElement) {
      next.focus({ preventScroll: true });
    }
  }
}

/** @param {Element} region */
function places(region) {
  return [...region.querySelectorAll("a, button, summary")];
}

function token() {
  return document.querySelector("meta[name=csrf]")?.getAttribute("content") ?? "";
}
