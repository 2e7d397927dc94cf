// @ts-check
/**
 * The words of the elements. Give an element's `labels` property another set to translate it.
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
  /** @type {(who: string, when: string) => string} */
  acknowledgedBy: (who, when) => `Acknowledged by ${who}, ${when}`,
  source: "Source",
  systems: "Systems",
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

export const PREFERENCES_LABELS = {
  title: "How to reach me",
  channels: {
    realtime: { name: "Live", about: "In open windows, at once. The inbox has everything in any case." },
    push: { name: "Push", about: "On phones and browsers that you have allowed." },
    email: { name: "E-mail", about: "High and critical notifications." },
    sms: { name: "SMS", about: "Critical notifications." },
  },
  note: "Critical alerts come on every channel that can reach you.",
  saved: "Saved",
  saveFailed: "That could not be saved. Please try again.",
  loadFailed: "The settings could not be read.",
  unknownUser: "There is no entry for you in the directory yet, so there is nothing to choose. Ask whoever runs this service.",
  browserTitle: "This browser",
  browser: {
    unsupported: "This browser cannot show notifications while the page is closed.",
    unavailable: "This server does not push to browsers.",
    denied: "Notifications of this site are blocked. Your browser's settings change that.",
    off: "Show notifications here while the page is closed.",
    on: "Notifications come to this browser while the page is closed.",
  },
  enable: "Turn on",
  disable: "Turn off",
  browserFailed: "That did not work: the browser or its push service refused.",
};

/** @typedef {typeof PREFERENCES_LABELS} PreferencesLabels */
