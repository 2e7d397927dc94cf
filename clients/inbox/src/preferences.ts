/**
 * `<carillon-preferences>`. Importing it in a browser defines the element; on a server it does nothing.
 *
 * @module
 */

import type { CarillonPreferences } from "./page/preferences-element.js";
import type { Preferences } from "./page/types.js";
import type { WebPushState } from "./page/web-push.js";

export { CarillonPreferences } from "./page/preferences-element.js";
export type { PreferencesLabels } from "./page/labels.js";

/** The events of `<carillon-preferences>`. They bubble. */
export interface PreferencesEvents {
  /** A change was saved. */
  "carillon-preferences": CustomEvent<Preferences>;
  /** Somebody turned pushes to this browser on or off, or tried to. */
  "carillon-webpush": CustomEvent<{ state: WebPushState }>;
}

declare global {
  interface HTMLElementTagNameMap {
    "carillon-preferences": CarillonPreferences;
  }
  interface GlobalEventHandlersEventMap extends PreferencesEvents {}
}
