"use client";
/**
 * The elements as React components, and the number of unread notifications as a hook. For React 18 and 19.
 *
 * @module
 */

export { CarillonInbox } from "./react/inbox.js";
export type { CarillonInboxElement, CarillonInboxProps } from "./react/inbox.js";
export { CarillonPreferences } from "./react/preferences.js";
export type { CarillonPreferencesElement, CarillonPreferencesProps } from "./react/preferences.js";
export { useUnreadCount } from "./react/unread-count.js";
