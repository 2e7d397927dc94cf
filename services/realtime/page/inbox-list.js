// @ts-check
/**
 * The list inside the panel: one view of the inbox, newest first, with older pages on scrolling down. Alerts that wait
 * for an answer stand above everything else.
 *
 * It holds what it has read and is told what changed; the element around it talks to the user and the client.
 *
 * @module
 */

import { arrange, button, element } from "./dom.js";
import { EntryRow, isSnoozed, wantsAcknowledgement } from "./entry.js";

/** @import { CarillonClient } from "./carillon.js" */
/** @import { EntryActions } from "./entry.js" */
/** @import { Language } from "./labels.js" */
/** @import { InboxNotification, InboxPage, InboxState } from "./types.js" */

const PAGE = 20;
/** What one re-read asks for at most. */
const REREAD_LIMIT = 100;

export class InboxList {
  #client;
  #language;
  #actions;
  /** @type {Map<string, EntryRow>} */
  #rows = new Map();
  #told;
  /** @type {InboxState | undefined} */
  #view;
  /** Undefined for all, null for entries without one. @type {string | null | undefined} */
  #category;
  #reading = 0;
  #busy = false;
  /** @type {InboxNotification[]} What was added while a page was read that may not hold it yet. */
  #addedMeanwhile = [];
  #items = element("ul", { role: "list" });
  #note = element("p", { class: "note", role: "status" });
  #older;
  #watcher;
  /** @type {string | undefined} The last entry of the pages that were read: the next one follows it. */
  #last;
  /** Where the focus was when a key asked for an entry that was still being read. @type {Element | null} */
  #waiting = null;

  /**
   * @param {CarillonClient} client
   * @param {Language} language
   * @param {EntryActions} actions
   * @param {(page: InboxPage) => void} told Gets each page that was read.
   */
  constructor(client, language, actions, told) {
    this.#client = client;
    this.#language = language;
    this.#actions = actions;
    this.#told = told;
    /** What is shown may be out of date: read it again before it is looked at. */
    this.stale = true;
    this.#older = button(language.inbox.older, "older", () => void this.older());
    this.#older.hidden = true;
    this.element = element("div", { class: "list", id: "list" }, this.#items, this.#note, this.#older);
    this.#watcher = new IntersectionObserver(
      (sightings) => {
        // A busy page is handed several at once, oldest first; only the last one says how it is now.
        if (sightings.at(-1)?.isIntersecting) void this.older();
      },
      { root: this.element, rootMargin: "200px" },
    );
    this.#watcher.observe(this.#older);
  }

  /** Stop watching. The list is of no use afterwards. */
  close() {
    this.#watcher.disconnect();
    this.element.remove();
  }

  /**
   * Read the newest entries of the view, as many as are shown.
   */
  async load() {
    const limit = Math.min(REREAD_LIMIT, Math.max(PAGE, this.#rows.size));
    const read = await this.#read({ limit });
    if (!read) return;
    this.stale = false;
    const page = read.notifications;
    this.#last = page.at(-1)?.id;
    const isHere = this.#view === undefined || this.#view === "unread";
    const onTop = isHere ? (read.unanswered ?? []).filter((each) => this.#isOfCategory(each)) : [];
    const listed = [...onTop, ...page];
    const shown = new Map(listed.map((notification) => [notification.id, notification]));
    for (const id of [...this.#rows.keys()]) if (!shown.has(id)) this.remove(id);
    const before = this.#rows;
    this.#rows = new Map();
    for (const notification of shown.values()) this.#put(notification, before.get(notification.id));
    arrange(
      this.#items,
      [...this.#rows.values()].map((row) => row.element),
    );
    this.#finish(page.length === limit);
    for (const notification of this.#addedMeanwhile.splice(0)) this.add(notification);
    this.#lookAgain();
    this.#arrive();
  }

  /** Read the page below the last entry. */
  async older() {
    if (this.#busy || this.#last === undefined) return;
    const read = await this.#read({ limit: PAGE, before: this.#last });
    if (!read) return;
    const page = read.notifications;
    this.#last = page.at(-1)?.id ?? this.#last;
    for (const notification of page) {
      if (!this.#rows.has(notification.id)) this.#items.append(this.#put(notification).element);
    }
    this.#finish(page.length === PAGE);
    this.#lookAgain();
  }

  /**
   * @param {InboxState | undefined} view
   * @param {string | null | undefined} category Undefined for all, null for entries without one.
   */
  async show(view, category) {
    this.#view = view;
    this.#category = category;
    this.#rows.clear();
    this.#items.replaceChildren();
    await this.load();
  }

  get hasOpenAlerts() {
    return [...this.#rows.values()].some((row) => wantsAcknowledgement(row.notification));
  }

  /** @param {InboxNotification} notification */
  add(notification) {
    if (this.#busy) this.#addedMeanwhile.push(notification);
    const known = this.get(notification.id);
    if (known) {
      // One that has come back stands where something new would.
      if (known.snoozed_until === notification.snoozed_until) return;
      this.remove(notification.id);
    }
    const isOther = this.#view !== undefined && this.#view !== "unread";
    if (isOther || !this.#isOfCategory(notification) || isSnoozed(notification)) return;
    const rows = [...this.#rows.values()];
    const onTop = rows.findIndex((row) => !wantsAcknowledgement(row.notification));
    const place = wantsAcknowledgement(notification) ? 0 : onTop < 0 ? rows.length : onTop;
    rows.splice(place, 0, this.#put(notification));
    this.#rows = new Map(rows.map((row) => [row.notification.id, row]));
    arrange(
      this.#items,
      rows.map((row) => row.element),
    );
    this.#finish(!this.#older.hidden);
  }

  /**
   * The notification as it stands here now, or undefined if it is not in the list.
   *
   * @param {string} id
   */
  get(id) {
    return this.#rows.get(id)?.notification;
  }

  /**
   * @param {string} id
   * @param {Partial<InboxNotification>} change
   */
  update(id, change) {
    this.#rows.get(id)?.update(change);
  }

  /** @param {Partial<InboxNotification>} change */
  updateAll(change) {
    for (const row of this.#rows.values()) row.update(change);
  }

  /** @param {string} id */
  remove(id) {
    const row = this.#rows.get(id);
    if (!row) return;
    const rows = [...this.#rows.values()];
    const neighbour = rows[rows.indexOf(row) + 1] ?? rows[rows.indexOf(row) - 1];
    const focused = row.element.matches(":focus-within");
    row.element.remove();
    this.#rows.delete(id);
    if (focused && neighbour) neighbour.focus();
    else if (focused) this.element.closest(/** @type {"section"} */ (".panel"))?.focus();
    this.#finish(!this.#older.hidden);
  }

  tick() {
    for (const row of this.#rows.values()) row.tick();
  }

  /** @param {InboxNotification} notification */
  #isOfCategory({ category }) {
    return this.#category === undefined || this.#category === (category ?? null);
  }

  /** @param {{limit: number, before?: string}} query */
  async #read(query) {
    const reading = ++this.#reading;
    this.#busy = true;
    this.#addedMeanwhile = [];
    if (this.#rows.size === 0) this.#note.textContent = this.#language.inbox.loading;
    try {
      const state = this.#view ? { state: this.#view } : {};
      const category = this.#category === undefined ? {} : { category: this.#category };
      const page = await this.#client.inbox({ ...query, ...state, ...category });
      if (reading !== this.#reading) return null;
      this.#told(page);
      return page;
    } catch {
      if (reading === this.#reading) this.#fail();
      return null;
    } finally {
      if (reading === this.#reading) this.#busy = false;
    }
  }

  #fail() {
    this.stale = true;
    // From the top: the entry that an older page would follow may have left the inbox, and the server refuses it then.
    const { loadFailed, retry } = this.#language.inbox;
    this.#note.replaceChildren(loadFailed, " ", button(retry, "retry", () => void this.load()));
    this.#older.hidden = true;
  }

  /** Ask anew whether the end is in view: one that stayed there tells its observer nothing more. */
  #lookAgain() {
    this.#watcher.unobserve(this.#older);
    this.#watcher.observe(this.#older);
  }

  /** @param {boolean} more */
  #finish(more) {
    this.#older.hidden = !more;
    const { empty, emptyUnread, emptyArchived, emptySnoozed } = this.#language.inbox;
    const words = { unread: emptyUnread, archived: emptyArchived, snoozed: emptySnoozed, read: empty };
    this.#note.replaceChildren(this.#rows.size > 0 ? "" : this.#view ? words[this.#view] : empty);
  }

  /**
   * @param {InboxNotification} notification
   * @param {EntryRow} [row] The one that shows it already.
   */
  #put(notification, row) {
    const used = row ?? new EntryRow(notification, this.#language, this.#actions);
    if (row) row.update(notification);
    this.#rows.set(notification.id, used);
    return used;
  }

  /** Go to the first entry for whoever asked before it was there, and has stayed since. */
  #arrive() {
    const first = this.#rows.values().next().value;
    if (this.#waiting?.matches(":focus")) first?.focus();
    this.#waiting = null;
  }

  /**
   * Go to another entry, from wherever the focus is in the panel.
   *
   * @param {KeyboardEvent} event
   */
  move(event) {
    const rows = [...this.#rows.values()];
    const at = rows.findIndex((row) => row.element.matches(":focus-within"));
    const to = { ArrowDown: at + 1, ArrowUp: Math.max(at - 1, 0), Home: 0, End: rows.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (rows.length === 0 && this.#busy) this.#waiting = /** @type {Element} */ (event.composedPath()[0]);
    rows[to]?.focus();
  }
}
