/**
 * `<carillon-inbox>`. Importing it in a browser defines the element; on a server it does nothing.
 *
 * @module
 */

import type { CarillonInbox } from "./page/inbox-element.js";
import type { InboxNotification, StateChange, StatusFrame } from "./page/types.js";

export { CarillonInbox } from "./page/inbox-element.js";
export type { Labels } from "./page/labels.js";

/** What a person may press in an entry. With a `topic`, pressing it publishes a message. */
export interface InboxAction {
  id: string;
  label: string;
  url?: string;
  topic?: string | boolean;
  style?: string;
}

/** The events of `<carillon-inbox>`. They bubble. */
export interface InboxEvents {
  "carillon-notification": CustomEvent<InboxNotification>;
  /** Cancel it to keep the inbox closed. */
  "carillon-open": CustomEvent<InboxNotification>;
  "carillon-acknowledged": CustomEvent<InboxNotification>;
  /** Somebody pressed an action. Cancel it to keep its link from being opened. */
  "carillon-action": CustomEvent<{ notification: InboxNotification; action: InboxAction }>;
  /** Its publisher took a notification back. */
  "carillon-recalled": CustomEvent<{ id: string }>;
  "carillon-unread": CustomEvent<{ unread: number }>;
  "carillon-status": CustomEvent<StatusFrame>;
  "carillon-state": CustomEvent<StateChange>;
  /** The token was refused, and there was no other. Set a new one to go on. */
  "carillon-unauthenticated": CustomEvent<{ code: number }>;
}

declare global {
  interface HTMLElementTagNameMap {
    "carillon-inbox": CarillonInbox;
  }
  interface GlobalEventHandlersEventMap extends InboxEvents {}
}
