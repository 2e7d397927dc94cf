// @ts-check
/**
 * English: the words that every other language translates, and those that are shown where one has none.
 *
 * @module
 */

/** @import { Plural } from "../labels.js" */

/** @param {Plural} plural */
export function labels(plural) {
  return {
    inbox: {
      title: "Notifications",
      bell: plural({
        "=0": "Notifications, none unread",
        one: "Notifications, {n} unread",
        other: "Notifications, {n} unread",
      }),
      toasts: "New notifications",
      close: "Close",
      dismiss: "Dismiss",
      categoriesTitle: "Categories",
      /** Titles by the category's name. A name that is not here is shown itself. */
      categories: /** @type {Record<string, string>} */ ({}),
      allCategories: "All",
      noCategory: "Other",
      unreadCount: plural({ one: "{n} unread", other: "{n} unread" }),
      views: "Show",
      all: "Inbox",
      unread: "Unread",
      archived: "Archived",
      snoozed: "Snoozed",
      markAllRead: "Mark all read",
      archive: "Archive",
      markUnread: "Mark unread",
      snooze: "Snooze",
      snoozeUntil: "Snooze until",
      snoozeChoices: {
        hour: "In 1 hour",
        evening: "This evening",
        tomorrow: "Tomorrow morning",
        monday: "Next Monday",
      },
      /** @type {(when: string) => string} */
      comesBack: (when) => `Comes back: ${when}`,
      bringBack: "Bring back now",
      acknowledge: "Acknowledge",
      acknowledged: "Acknowledged",
      /** @type {(who: string, when: string) => string} */
      acknowledgedBy: (who, when) => `Acknowledged by ${who}, ${when}`,
      /** @type {(label: string) => string} */
      acted: (label) => `Done: ${label}`,
      newTab: "opens in a new tab",
      source: "Source",
      systems: "Systems",
      alertStates: { open: "", acknowledged: "Acknowledged", resolved: "Resolved", ended: "Over" },
      older: "Show older",
      loading: "Loading…",
      empty: "Nothing here yet.",
      emptyUnread: "All read.",
      emptyArchived: "The archive is empty.",
      emptySnoozed: "Nothing is snoozed.",
      failed: "That did not work. Please try again.",
      loadFailed: "The inbox could not be read.",
      retry: "Try again",
      moreToasts: plural({ one: "{n} more waiting", other: "{n} more waiting" }),
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
    },
    preferences: {
      title: "How to reach me",
      channels: {
        realtime: { name: "Live", about: "In open windows, at once. The inbox has everything in any case." },
        push: { name: "Push", about: "On phones and browsers that you have allowed." },
        email: { name: "E-mail", about: "High and critical notifications." },
        sms: { name: "SMS", about: "Critical notifications." },
      },
      note: "Critical alerts come on every channel that can reach you.",
      categoriesTitle: "What I want to hear about",
      required: "Always on",
      requiredAbout: "You need these, so they cannot be turned off.",
      optInAbout: "Off until you turn it on.",
      unsubscribed: "You unsubscribed from these mails. Turn e-mail on to get them again.",
      usual: "Usual setting",
      reset: "Back to the usual setting",
      digest: "How often",
      digests: { instant: "At once", hourly: "Every hour", daily: "Every day", weekly: "Every week" },
      quietTitle: "Quiet hours",
      quietAbout: "In this time nothing rings. The inbox still gets everything, and critical alerts still come.",
      quietNone: "No quiet hours.",
      days: "Days",
      from: "From",
      to: "To",
      nextDay: "the next day",
      addWindow: "Add quiet hours",
      removeWindow: "Remove",
      timezone: "Time zone",
      pauseTitle: "Pause",
      pauseAbout: "Hold everything back for a while, except critical alerts.",
      pauseChoices: {
        hour: "For 1 hour",
        evening: "Until this evening",
        tomorrow: "Until tomorrow morning",
        monday: "Until next Monday",
      },
      /** @type {(when: string) => string} */
      pausedUntil: (when) => `Paused. Goes on: ${when}`,
      resume: "Go on now",
      saved: "Saved",
      saveFailed: "That could not be saved. Please try again.",
      loadFailed: "The settings could not be read.",
      unknownUser:
        "There is no entry for you in the directory yet, so there is nothing to choose. Ask whoever runs this service.",
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
    },
  };
}
