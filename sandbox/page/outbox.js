// @ts-check
/**
 * The outbox page: asks for what is new once a second, shows it newest first, and one entry in full.
 * Everything that came from a sender is inserted as text.
 */

/**
 * @typedef {{
 *   n: number, channel: string, provider: string, to: string, title: string, body: string, at: string, id: string,
 *   answered: boolean, notification_id?: string, html_body?: string | null, headers?: [string, string][],
 *   [extra: string]: unknown
 * }} Entry
 */

const POLL_MS = 1000;
// Older entries are in outbox.json; a list of more than this many nobody reads, and the browser feels it.
const SHOWN_LIMIT = 500;
const FACTS_IN_TURN = ["to", "from", "at", "provider", "id", "notification_id", "size_bytes"];
const SHOWN_ELSEWHERE = new Set([
  ...FACTS_IN_TURN, "n", "channel", "title", "body", "answered", "html_body", "headers",
]);
/** @type {Record<string, string>} */
const FACT_NAMES = { to: "To", from: "From", at: "Taken", provider: "Provider", id: "Id", notification_id: "Notification", size_bytes: "Size" };
/** @type {Record<string, string>} */
const PROVIDER_NAMES = { smtp: "SMTP", ses: "Amazon SES", twilio: "Twilio", apns: "APNs", fcm: "FCM", webpush: "Web Push", ntfy: "ntfy" };
/** @type {Record<string, string>} */
const CHANNEL_NAMES = { email: "Email", sms: "SMS", push: "Push" };

const list = /** @type {HTMLOListElement} */ (document.getElementById("list"));
const detail = /** @type {HTMLElement} */ (document.getElementById("detail"));
const choose = /** @type {HTMLElement} */ (document.getElementById("choose"));
const nothing = /** @type {HTMLElement} */ (document.getElementById("nothing"));
const more = /** @type {HTMLElement} */ (document.getElementById("more"));
const search = /** @type {HTMLInputElement} */ (document.getElementById("search"));
const clear = /** @type {HTMLButtonElement} */ (document.getElementById("clear"));
const connection = /** @type {HTMLElement} */ (document.getElementById("connection"));
const channelButtons = /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("[data-channel]"));

/** Newest last, as the sandbox has them. @type {Entry[]} */
let entries = [];
let epoch = "";
let total = 0;
let channel = "";
/** The number of the chosen entry, 0 if there is none. */
let chosen = 0;

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {string} className
 * @param {...(Node | string)} content
 * @returns {HTMLElementTagNameMap[Tag]}
 */
function element(tag, className, ...content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

/** @param {string} at */
function clockTime(at) {
  const date = new Date(at);
  const time = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? time : `${date.toLocaleDateString([], { day: "numeric", month: "short" })} ${time}`;
}

/** @param {Entry} entry */
function matches(entry) {
  if (channel && entry.channel !== channel) return false;
  const wanted = search.value.trim().toLowerCase();
  if (!wanted) return true;
  return [entry.to, entry.title, entry.body, entry.id, entry.notification_id ?? "", entry.html_body ?? ""]
    .some((text) => String(text).toLowerCase().includes(wanted));
}

/** @param {Entry} entry */
function badge(entry) {
  const made = element("span", "badge", PROVIDER_NAMES[entry.provider] ?? entry.provider);
  made.dataset.channel = entry.channel;
  return made;
}

/**
 * @param {Entry} entry
 * @param {boolean} fresh
 */
function row(entry, fresh) {
  const subject = entry.title || entry.body || "(empty)";
  const button = element(
    "button", fresh ? "entry fresh" : "entry",
    element("span", "subject", subject),
    element("time", "time", clockTime(entry.at)),
    element("span", "to", entry.to),
    badge(entry),
    element("span", "text", entry.title ? entry.body : ""),
  );
  button.type = "button";
  button.dataset.n = String(entry.n);
  if (entry.n === chosen) button.setAttribute("aria-current", "true");
  return element("li", "", button);
}

function drawList() {
  list.replaceChildren(...entries.filter(matches).reverse().map((entry) => row(entry, false)));
  drawAround();
}

/** Draw what depends on the list: counts and the notes below it. */
function drawAround() {
  for (const button of channelButtons) {
    const wanted = button.dataset.channel;
    const count = entries.filter((entry) => !wanted || entry.channel === wanted).length;
    const label = /** @type {HTMLElement} */ (button.querySelector(".count"));
    label.textContent = count ? String(count) : "";
  }
  nothing.hidden = list.childElementCount > 0;
  nothing.textContent = entries.length
    ? "No entry matches."
    : "Nothing here yet. What the services send appears by itself.";
  more.hidden = total <= entries.length;
  const link = element("a", "", "outbox.json");
  link.href = "/outbox.json";
  more.replaceChildren(`The newest ${entries.length} of ${total}. All of them: `, link);
  clear.disabled = entries.length === 0;
}

/**
 * @param {string} heading
 * @param {...Node} content
 */
function section(heading, ...content) {
  return element("section", "", element("h3", "", heading), ...content);
}

/** @param {Entry} entry */
function facts(entry) {
  /** @type {HTMLElement} */
  const made = element("dl", "facts");
  for (const name of FACTS_IN_TURN) {
    const value = entry[name];
    if (value === undefined || value === null || value === "") continue;
    let text = String(value);
    if (name === "at") text = `${new Date(text).toLocaleString()} (${text})`;
    if (name === "provider") text = `${PROVIDER_NAMES[text] ?? text}, ${CHANNEL_NAMES[entry.channel] ?? entry.channel}`;
    if (name === "size_bytes") text = `${Number(value).toLocaleString()} bytes`;
    const isCode = name === "id" || name === "notification_id" || (name === "to" && entry.channel === "push");
    made.append(element("dt", "", FACT_NAMES[name] ?? name), element("dd", isCode ? "mono" : "", text));
  }
  return made;
}

/** @param {[string, string][]} headers */
function headerTable(headers) {
  /** @type {HTMLElement} */
  const made = element("table", "headers");
  for (const [name, value] of headers) {
    const head = element("th", "mono", name);
    head.scope = "row";
    made.append(element("tr", "", head, element("td", "mono", value)));
  }
  return made;
}

function drawDetail() {
  const entry = entries.find((each) => each.n === chosen);
  detail.hidden = !entry;
  choose.hidden = Boolean(entry);
  for (const button of list.querySelectorAll("button")) {
    if (Number(button.dataset.n) === chosen) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  if (!entry) return;
  const back = element("button", "plain back", "Back to the list");
  back.type = "button";
  back.addEventListener("click", () => pick(0));
  const bar = element("div", "bar", back, badge(entry));
  if (!entry.answered) bar.append(element("span", "badge bad", "taken, but not answered"));
  const parts = [bar, element("h2", entry.title ? "" : "untitled", entry.title || "No title"), facts(entry)];
  parts.push(section("Text", element("pre", "words", entry.body || "(none)")));
  if (entry.html_body) parts.push(section("HTML, as source", element("pre", "source", entry.html_body)));
  for (const [name, value] of Object.entries(entry)) {
    if (SHOWN_ELSEWHERE.has(name) || value === null || JSON.stringify(value) === "{}") continue;
    const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
    const heading = name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");
    parts.push(section(heading, element("pre", "source", text)));
  }
  if (entry.headers?.length) parts.push(section("Headers", headerTable(entry.headers)));
  detail.replaceChildren(...parts);
  detail.scrollTop = 0;
}

/** @param {number} n */
function pick(n) {
  chosen = n;
  history.replaceState(null, "", n ? `#${n}` : location.pathname);
  drawDetail();
}

/** @param {Entry[]} arrived */
function take(arrived) {
  const isFirst = entries.length === 0;
  entries.push(...arrived);
  if (entries.length > SHOWN_LIMIT) entries = entries.slice(-SHOWN_LIMIT);
  if (isFirst || arrived.length > 100) {
    drawList();
    return;
  }
  list.prepend(...arrived.filter(matches).reverse().map((entry) => row(entry, true)));
  while (list.childElementCount > SHOWN_LIMIT) list.lastElementChild?.remove();
  drawAround();
}

/** Polls follow one another: two at once would both bring the same entries. */
let lastPoll = Promise.resolve();

function poll() {
  lastPoll = lastPoll.catch(() => {}).then(pollOnce);
  return lastPoll;
}

async function pollOnce() {
  const since = entries.at(-1)?.n ?? 0;
  const answer = await fetch(`/outbox.json?since=${since}&limit=${SHOWN_LIMIT}`, { cache: "no-store" });
  if (!answer.ok) throw new Error(`the sandbox answered ${answer.status}`);
  const arrived = /** @type {Entry[]} */ (await answer.json());
  const first = Number(answer.headers.get("Outbox-First"));
  total = Number(answer.headers.get("Outbox-Size"));
  const newEpoch = answer.headers.get("Outbox-Epoch") ?? "";
  if (epoch && newEpoch !== epoch) {
    // The sandbox was started again and counts from 1.
    epoch = "";
    entries = [];
    pick(0);
    drawList();
    return;
  }
  epoch = newEpoch;
  const kept = entries.filter((entry) => entry.n >= first);
  if (kept.length < entries.length) {
    entries = kept;
    if (!kept.some((entry) => entry.n === chosen)) pick(0);
    drawList();
  }
  if (arrived.length) take(arrived);
  else drawAround();
}

async function follow() {
  for (;;) {
    if (!document.hidden) {
      try {
        await poll();
        setConnection("live", "live");
      } catch {
        setConnection("lost", "sandbox not reachable");
      }
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/**
 * @param {string} state
 * @param {string} text
 */
function setConnection(state, text) {
  if (connection.dataset.state === state) return;
  connection.dataset.state = state;
  connection.textContent = text;
}

/** @param {number} step */
function move(step) {
  const buttons = [...list.querySelectorAll("button")];
  const position = buttons.findIndex((button) => Number(button.dataset.n) === chosen);
  const target = buttons[Math.min(Math.max(position + step, 0), buttons.length - 1)];
  if (!target) return;
  target.focus();
  pick(Number(target.dataset.n));
}

list.addEventListener("click", (event) => {
  const button = /** @type {Element} */ (event.target).closest("button");
  if (button) pick(Number(button.dataset.n));
});
document.addEventListener("keydown", (event) => {
  if (event.target === search && event.key !== "Escape") return;
  if (event.key === "ArrowDown") move(1);
  else if (event.key === "ArrowUp") move(-1);
  else if (event.key === "Escape") pick(0);
  else if (event.key === "/") search.focus();
  else return;
  event.preventDefault();
});
for (const button of channelButtons) {
  button.addEventListener("click", () => {
    channel = button.dataset.channel ?? "";
    for (const each of channelButtons) each.setAttribute("aria-pressed", String(each === button));
    drawList();
  });
}
search.addEventListener("input", drawList);
clear.addEventListener("click", async () => {
  await fetch("/outbox.json", { method: "DELETE" });
  await poll();
});

// A link to one entry works once the entries are there.
chosen = Number(location.hash.slice(1)) || 0;
await poll().catch(() => setConnection("lost", "sandbox not reachable"));
drawList();
drawDetail();
void follow();

export {};
