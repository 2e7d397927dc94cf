/**
 * `<CarillonInbox>`: a bell with the number of unread notifications, the inbox behind it, and toasts.
 *
 * @module
 */

import type { ForwardRefExoticComponent, HTMLAttributes, RefAttributes } from "react";

import type { InboxEvents } from "../inbox.js";
import "../page/inbox-element.js";
import type { CarillonInbox as CarillonInboxElement } from "../page/inbox-element.js";
import type { Labels } from "../page/labels.js";
import { type CommonProps, component } from "./component.js";
import { mounted } from "./unread-count.js";

export type { CarillonInboxElement };

type Listener<Name extends keyof InboxEvents> = ((event: InboxEvents[Name]) => void) | undefined;

export interface CarillonInboxProps
  extends CommonProps, Omit<HTMLAttributes<CarillonInboxElement>, "children" | "dangerouslySetInnerHTML"> {
  /** Shows no toasts in the corner. */
  noToasts?: boolean | undefined;
  /** Other words; those left out stay as they are. */
  labels?: Partial<Labels> | undefined;
  onNotification?: Listener<"carillon-notification">;
  /** Somebody clicked a notification. `event.preventDefault()` keeps the inbox closed. */
  onOpen?: Listener<"carillon-open">;
  onAcknowledged?: Listener<"carillon-acknowledged">;
  /** Somebody pressed an action. `event.preventDefault()` keeps its link from being opened. */
  onAction?: Listener<"carillon-action">;
  /** Its publisher took a notification back. */
  onRecalled?: Listener<"carillon-recalled">;
  onUnread?: Listener<"carillon-unread">;
  onStatus?: Listener<"carillon-status">;
  onStateChange?: Listener<"carillon-state">;
  /** The token was refused, and there was no other. */
  onUnauthenticated?: Listener<"carillon-unauthenticated">;
}

export const CarillonInbox: ForwardRefExoticComponent<CarillonInboxProps & RefAttributes<CarillonInboxElement>> =
  /* @__PURE__ */ component<CarillonInboxElement, CarillonInboxProps>("carillon-inbox", {
    attributes: { noToasts: "no-toasts" },
    events: {
      onNotification: "carillon-notification",
      onOpen: "carillon-open",
      onAcknowledged: "carillon-acknowledged",
      onAction: "carillon-action",
      onRecalled: "carillon-recalled",
      onUnread: "carillon-unread",
      onStatus: "carillon-status",
      onStateChange: "carillon-state",
      onUnauthenticated: "carillon-unauthenticated",
    },
    mounted,
  });
