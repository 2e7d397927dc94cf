// @ts-check
/**
 * The words of `<carillon-inbox>`. Give the element's `labels` property another set to translate it.
 *
 * @module
 */

export const LABELS = {
  title: "Notifications",
  /** @type {(unread: number) => string} */
  bell: (unread) => (unread === 0 ? "Notifications, none unread" : `Notifications, ${unread} unread`),
  toasts: "New notifications",
  close: "Close",
  dismiss: "Dismiss",
  views: "Show",
  all: "All",
  unread: "Unread",
  archived: "Archived",
  markAllRead: "Mark all read",
  archive: "Archive",
  markUnread: "Mark unread",
  acknowledge: "Acknowledge",
  acknowledged: "Acknowledged",
  alertStates: { open: "", acknowledged: "Acknowledged", resolved: "Resolved", ended: "Over" },
  older: "Show older",
  loading: "Loading…",
  empty: "Nothing here yet.",
  emptyUnread: "All read.",
  emptyArchived: "The archive is empty.",
  failed: "That did not work. Please try again.",
  loadFailed: "The inbox could not be read.",
  retry: "Try again",
  /** @type {(count: number) => string} */
  moreToasts: (count) => `${count} more waiting`,
  types: /** @type {Record<string, string>} */ ({
    info: "Information",
    success: "Success",
    warning: "Warning",
    error: "Error",
    alert: "Alert",
  }),
  priorities: { low: "Low", normal: "", high: "High", critical: "Critical" },
  states: {
    idle: "Not connected",
    connecting: "Connecting…",
    open: "Live",
    waiting: "Reconnecting…",
    offline: "Offline",
    stopped: "Please sign in again",
  },
};

/** @typedef {typeof LABELS} Labels */
