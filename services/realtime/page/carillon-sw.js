// @ts-check
/**
 * The service worker: shows what is pushed, removes what was recalled, and brings the person to it on a click.
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

  /**
   * What the server pushes.
   *
   * @typedef {object} Push
   * @property {string} title
   * @property {string} [body]
   * @property {string} [tag] The same for a repeated push, which then replaces the first on the screen.
   * @property {string} [carillon_id] The notification's id in the inbox.
   * @property {string} [priority]
   * @property {boolean} [recalled] The notification with this tag was taken back.
   * @property {Record<string, unknown>} [data]
   */

  worker.addEventListener("push", (event) => {
    const { title, body = "", tag = "", carillon_id = null, priority, data = {}, recalled } = read(event.data);
    if (recalled) return event.waitUntil(remove(String(title), String(tag)));
    event.waitUntil(
      worker.registration.showNotification(String(title), {
        body: String(body),
        tag: String(tag),
        icon: new URL(ICON, worker.location.href).href,
        requireInteraction: priority === "critical",
        silent: priority === "low",
        data: { id: carillon_id, data },
      }),
    );
  });

  worker.addEventListener("notificationclick", (event) => {
    event.notification.close();
    event.waitUntil(open(event.notification.data ?? {}));
  });

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

  /** @param {{id?: string | null, data?: Record<string, unknown>}} notification */
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
