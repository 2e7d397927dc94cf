/**
 * The number of unread notifications as a hook.
 *
 * @module
 */

import { useCallback, useSyncExternalStore } from "react";

import type { CarillonClient } from "../page/carillon.js";
import type { CarillonInbox as CarillonInboxElement } from "../page/inbox-element.js";

const inboxes = new Set<CarillonInboxElement>();
const watchers = new Set<() => void>();

/**
 * Return how many notifications are unread: 0 before the server has said, and on a server.
 *
 * @param client Count for this client. Without one it is the number on the bell of the page's `<CarillonInbox>`, wherever
 *   that is in the tree; of several, the first one's.
 */
export function useUnreadCount(client?: CarillonClient): number {
  const watch = useCallback((changed: () => void) => (client ? client.on("unread", changed) : onChange(changed)), [client]);
  return useSyncExternalStore(watch, () => (client ? (client.unread ?? 0) : onTheBell()), () => 0);
}

/** Watch an inbox that has come into the page, and return what to call when it has left. */
export function mounted(element: HTMLElement): () => void {
  const inbox = element as CarillonInboxElement;
  inboxes.add(inbox);
  inbox.addEventListener("carillon-unread", tell);
  tell();
  return () => {
    inbox.removeEventListener("carillon-unread", tell);
    inboxes.delete(inbox);
    tell();
  };
}

function onTheBell(): number {
  const [inbox] = inboxes;
  return inbox?.unread ?? 0;
}

function onChange(changed: () => void): () => void {
  watchers.add(changed);
  return () => {
    watchers.delete(changed);
  };
}

function tell(): void {
  for (const changed of watchers) changed();
}
