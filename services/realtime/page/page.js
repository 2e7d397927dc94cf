// @ts-check
/**
 * The demonstration page: lets a user in, and shows what arrives while it is open.
 *
 * The token comes in the address's fragment, which no server sees, or by hand; it is kept in this tab only.
 *
 * @module
 */

import "./inbox-element.js";
import "./preferences-element.js";
import { button, element } from "./dom.js";
import { tone } from "./entry.js";
import { icon } from "./icons.js";
import { LABELS } from "./labels.js";
import { StatusBanner } from "./status-banner.js";

/** @import { CarillonInbox } from "./inbox-element.js" */
/** @import { CarillonPreferences } from "./preferences-element.js" */
/** @import { InboxNotification, StateChange, StatusFrame } from "./types.js" */

const TOKEN_KEY = "carillon.token";
const THEME_KEY = "carillon.theme";
const FEED_LIMIT = 50;
/** An id goes into commands that people paste into a shell; any other id is left to them to write. */
const PLAIN_ID = /^[\w.@:-]+$/;
const THEMES = /** @type {const} */ (["auto", "light", "dark"]);

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
function part(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new TypeError(`The page has no ${id}.`);
  return found;
}

const inbox = /** @type {CarillonInbox} */ (part("inbox", HTMLElement));
const preferences = /** @type {CarillonPreferences} */ (part("preferences", HTMLElement));
const feed = part("feed", HTMLElement);
const status = new StatusBanner();
const time = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

/** Take the token out of the address at once: it must not stay in the history or in a copied link. */
function tokenFromAddress() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) history.replaceState(null, "", location.pathname + location.search);
  return token;
}

/**
 * Read the user's id for display. Whether the token is good, only the server can tell.
 *
 * @param {string} token
 * @returns {string | null}
 */
function subject(token) {
  try {
    const [, payload = ""] = token.split(".");
    const bytes = Uint8Array.from(atob(payload.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    const { sub } = JSON.parse(new TextDecoder().decode(bytes));
    return typeof sub === "string" ? sub : null;
  } catch {
    return null;
  }
}

/** @param {string} [trouble] Why the last token did not do. */
function showEntrance(trouble = "") {
  sessionStorage.removeItem(TOKEN_KEY);
  inbox.token = "";
  preferences.token = "";
  inbox.hidden = true;
  feed.replaceChildren();
  showStatus(null);
  for (const id of ["live", "user", "leave"]) part(id, HTMLElement).hidden = true;
  part("token-error", HTMLElement).textContent = trouble;
  part("entrance", HTMLElement).hidden = false;
  part("token", HTMLTextAreaElement).focus();
}

/** @param {string} token */
function enter(token) {
  const user = subject(token);
  if (user === null) return showEntrance("This is not a token. Copy the whole line that the command prints.");
  sessionStorage.setItem(TOKEN_KEY, token);
  part("token", HTMLTextAreaElement).value = "";
  part("entrance", HTMLElement).hidden = true;
  part("user", HTMLElement).textContent = user;
  for (const id of ["live", "user", "leave"]) part(id, HTMLElement).hidden = false;
  part("waiting", HTMLElement).hidden = false;
  part("commands", HTMLElement).replaceChildren(...commands(PLAIN_ID.test(user) ? user : "USER_ID"));
  inbox.hidden = false;
  inbox.token = token;
  preferences.token = token;
}

/** @param {string} user */
function commands(user) {
  const mine = `notifications/realtime/user/${user}`;
  return [
    command("A notification for you", mine, { title: "Hello", message: "It works." }),
    command("A critical one", mine, { message: "The build is broken.", type: "error", priority: "critical" }),
    command("One to decide", mine, {
      title: "Expense report",
      message: "Lisbon, 2 nights.",
      category: "approvals",
      actions: [
        { id: "approve", label: "Approve", topic: true, style: "primary" },
        { id: "decline", label: "Decline", topic: true },
      ],
    }),
    command("The system status", "notifications/system/status", {
      message: "Search is slow.",
      status: "degraded",
      services: ["search"],
    }),
  ];
}

/**
 * @param {string} title
 * @param {string} topic
 * @param {Record<string, unknown>} payload Without a single quote, which would end the shell's string.
 */
function command(title, topic, payload) {
  const line = `.venv/bin/carillon send ${topic} '${JSON.stringify(payload)}'`;
  const copy = button("Copy", "plain", async () => {
    await navigator.clipboard.writeText(line);
    part("copied", HTMLElement).textContent = `Copied: ${title}`;
    copy.textContent = "Copied";
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  });
  copy.setAttribute("aria-label", `Copy: ${title}`);
  // Browsers offer the clipboard to secure origins only.
  copy.hidden = !navigator.clipboard;
  return element(
    "div",
    { class: "command" },
    element("div", { class: "command-head" }, title, copy),
    element("pre", {}, element("code", {}, line)),
  );
}

/** @param {InboxNotification} notification */
function showArrival(notification) {
  const { id, title, message, type, priority, category, timestamp, alert } = notification;
  const wish = alert?.requires_acknowledgment && alert.state !== "acknowledged" ? "wants an acknowledgement" : "";
  const facts = [type, `priority ${priority}`, category, wish];
  part("waiting", HTMLElement).hidden = true;
  feed.prepend(
    element(
      "li",
      { class: "arrival", "data-tone": tone(notification), "data-id": id },
      icon(type),
      element("h2", {}, title),
      element("time", { datetime: new Date(timestamp * 1000).toISOString() }, time.format(timestamp * 1000)),
      element("p", { class: "text" }, message),
      element("p", { class: "facts" }, facts.filter((fact) => fact).join(" · ")),
    ),
  );
  while (feed.childElementCount > FEED_LIMIT) feed.lastElementChild?.remove();
}

/** @param {StatusFrame | null} frame */
function showStatus(frame) {
  const line = part("status", HTMLElement);
  if (frame) status.show(frame);
  else status.clear();
  line.dataset.tone = status.element.dataset.tone ?? "info";
  line.hidden = status.element.hidden;
}

/** @param {string} theme */
function setTheme(theme) {
  localStorage.setItem(THEME_KEY, theme);
  for (const themed of [document.documentElement, inbox, preferences]) {
    const name = themed === document.documentElement ? "data-theme" : "theme";
    if (theme === "auto") themed.removeAttribute(name);
    else themed.setAttribute(name, theme);
  }
  part("theme", HTMLButtonElement).textContent = `Theme: ${theme}`;
}

/**
 * @template T
 * @param {string} type
 * @param {(detail: T) => void} listener
 */
function when(type, listener) {
  inbox.addEventListener(type, (event) => listener(/** @type {CustomEvent<T>} */ (event).detail));
}

status.element.removeAttribute("class");
part("status", HTMLElement).append(status.element);
part("outbox", HTMLElement).hidden = !["127.0.0.1", "localhost", "[::1]"].includes(location.hostname);
setTheme(localStorage.getItem(THEME_KEY) ?? "auto");
part("theme", HTMLElement).addEventListener("click", () => {
  const current = THEMES.findIndex((theme) => theme === localStorage.getItem(THEME_KEY));
  setTheme(THEMES[(current + 1) % THEMES.length] ?? "auto");
});
part("leave", HTMLElement).addEventListener("click", async () => {
  // The next person at this browser must not be shown this one's pushes.
  await preferences.webPush?.disable().catch(() => undefined);
  showEntrance();
});
part("token-form", HTMLElement).addEventListener("submit", (event) => {
  event.preventDefault();
  enter(part("token", HTMLTextAreaElement).value.trim());
});
when("carillon-notification", showArrival);
when("carillon-recalled", (/** @type {{id: string}} */ { id }) => {
  for (const arrival of feed.querySelectorAll("li")) if (arrival.dataset.id === id) arrival.remove();
});
when("carillon-status", showStatus);
when("carillon-unread", (/** @type {{unread: number}} */ { unread }) => {
  document.title = unread ? `(${unread}) Carillon` : "Carillon";
});
when("carillon-state", (/** @type {StateChange} */ { state, transport }) => {
  const line = part("connection", HTMLElement);
  line.dataset.state = state;
  const way = transport === "sse" ? "SSE" : "WebSocket";
  line.textContent = LABELS.states[state] + (state === "open" ? ` over ${way}` : "");
});
when("carillon-unauthenticated", () => showEntrance("The server does not take this token, or it has expired."));
// The same tab may be sent another token: the fragment changes without a reload.
addEventListener("hashchange", () => {
  const token = tokenFromAddress();
  if (token) enter(token);
});

const token = tokenFromAddress() ?? sessionStorage.getItem(TOKEN_KEY);
if (token) enter(token);
else showEntrance();
