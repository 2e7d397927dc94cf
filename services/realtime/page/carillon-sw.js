// @ts-check
/**
 * The service worker: shows what is pushed, removes what was recalled, and brings the person to it on a click. A
 * critical alert has a button that acknowledges it without any page.
 *
 * A classic script, so that a worker of your own can have it with `importScripts`. The page that a click opens is the
 * worker's scope, or what the `open` parameter of its address says: `carillon-sw.js?open=/inbox`. A `url` in the
 * notification's data goes before that where it is of the same origin; other origins are only opened from the inbox,
 * where a person sees the host.
 */
(() => {
  const worker = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (globalThis));
  const ICON = "icon.svg";
  /** For a push that cannot be read: browsers take the permission from those that show nothing. */
  const UNREADABLE = { title: "New notification" };
  const FAILED = "Not acknowledged. Try again, or open the inbox.";
  /** Browsers end a worker that takes much longer. */
  const ANSWER_MS = 15_000;
  const ACKNOWLEDGE = { action: "acknowledge", title: "Acknowledge" };

  /**
   * What the server pushes.
   *
   * @typedef {object} Push
   * @property {string} title
   * @property {string} [body]
   * @property {string} [tag] The same for a repeated push, which then replaces the first on the screen.
   * @property {string} [carillon_id] The notification's id in the inbox.
   * @property {string} [priority]
   * @property {string} [answer_url] A POST to it acknowledges the alert in the name of the person it was pushed to.
   * @property {string} [answer_label] What the button says that does so.
   * @property {boolean} [recalled] The notification with this tag was taken back.
   * @property {Record<string, unknown>} [data]
   */

  /**
   * What a notification on the screen carries.
   *
   * @typedef {{id?: string | null, data?: Record<string, unknown>, answer_url?: string, answer_label?: string}} Shown
   */

  worker.addEventListener("push", (event) => {
    const push = read(event.data);
    const { title, tag = "", carillon_id = null, data = {}, recalled } = push;
    if (recalled) return event.waitUntil(remove(String(title), String(tag)));
    event.waitUntil(
      show(String(title), {
        body: String(push.body ?? ""),
        tag: String(tag),
        requireInteraction: push.priority === "critical",
        silent: push.priority === "low",
        data: { id: carillon_id, data, ...answer(push) },
      }),
    );
  });

  worker.addEventListener("notificationclick", (event) => {
    event.notification.close();
    const answers = event.action === ACKNOWLEDGE.action;
    event.waitUntil(answers ? acknowledge(event.notification) : open(event.notification.data ?? {}));
  });

  /**
   * @param {Push} push
   * @returns {Partial<Shown>}
   */
  function answer({ answer_url, answer_label }) {
    if (!answer_url) return {};
    return { answer_url: String(answer_url), ...(answer_label && { answer_label: String(answer_label) }) };
  }

  /**
   * @param {string} title
   * @param {NotificationOptions & {data: Shown}} options
   */
  function show(title, options) {
    const { answer_url, answer_label = ACKNOWLEDGE.title } = options.data;
    const actions = answer_url ? [{ ...ACKNOWLEDGE, title: answer_label }] : [];
    const icon = new URL(ICON, worker.location.href).href;
    // The platform's types leave out `actions`, because not every browser has them.
    const all = /** @type {NotificationOptions} */ ({ icon, actions, ...options });
    return worker.registration.showNotification(title, all);
  }

  /**
   * Acknowledges an alert, and shows in its place what came of it: the person has seen no page.
   *
   * @param {Notification} notification
   */
  async function acknowledge({ title, body, tag, data }) {
    const { answer_url, ...rest } = data;
    try {
      await show(title, { body: outcome(await answered(answer_url)), tag, silent: true, data: rest });
    } catch {
      const failed = body.startsWith(FAILED) ? body : `${FAILED}\n${body}`;
      await show(title, { body: failed, tag, requireInteraction: true, data });
    }
  }

  /**
   * @param {string} url
   * @returns {Promise<{state?: string, acknowledged_by?: string}>}
   */
  async function answered(url) {
    const answer = await fetch(url, {
      method: "POST",
      headers: { Accept: "application/json" },
      // The link alone decides. No cookie and no referrer leave with it.
      credentials: "omit",
      referrerPolicy: "no-referrer",
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    if (!answer.ok) throw new Error(String(answer.status));
    return answer.json();
  }

  /** @param {{state?: string, acknowledged_by?: string}} answer */
  function outcome({ state, acknowledged_by }) {
    if (state === "open") throw new Error("it is still open");
    if (state === "acknowledged") return `Acknowledged by ${acknowledged_by ?? "somebody"}.`;
    return state === "resolved" ? "Resolved." : "Withdrawn.";
  }

  /**
   * @param {PushMessageData | null} data
   * @returns {Push}
   */
  function read(data) {
    try {
      const push = data?.json();
      return typeof push?.title === "string" ? push : UNREADABLE;
    } catch {
      return UNREADABLE;
    }
  }

  /**
   * Takes a notification off the screen. Another one takes its place first, in silence: browsers take the permission
   * from pushes that show nothing. The tag names both, so that closing the first closes the second. The second is
   * asked for only where there was none: Chromium does not list it reliably while it is on its way to the screen.
   *
   * @param {string} title
   * @param {string} tag
   */
  async function remove(title, tag) {
    const before = await worker.registration.getNotifications({ tag });
    await worker.registration.showNotification(title, { tag, silent: true });
    const shown = before.length > 0 ? before : await worker.registration.getNotifications({ tag });
    for (const notification of shown) notification.close();
  }

  /** @param {Shown} notification */
  async function open({ id = null, data = {} }) {
    const home = new URL(new URL(worker.location.href).searchParams.get("open") ?? "", worker.registration.scope);
    const wanted = own(data?.url);
    const windows = await worker.clients.matchAll({ type: "window", includeUncontrolled: true });
    const target = wanted ?? home;
    const there = windows.find(({ url }) => new URL(url).pathname === target.pathname);
    if (!there) return void (await worker.clients.openWindow(target.href));
    // Where the browser refuses the focus, the page is told all the same.
    await there.focus().catch(() => undefined);
    there.postMessage({ type: "carillon-open", id, data });
  }

  /** @param {unknown} url */
  function own(url) {
    if (typeof url !== "string" || !URL.canParse(url, worker.registration.scope)) return null;
    const target = new URL(url, worker.registration.scope);
    return target.origin === worker.location.origin ? target : null;
  }
})();
