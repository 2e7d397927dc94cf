/**
 * `<CarillonPreferences>`: what a person wants to be told, and Web Push for this browser.
 *
 * @module
 */

import type { ForwardRefExoticComponent, HTMLAttributes, RefAttributes } from "react";

import type { PreferencesLabels } from "../page/labels.js";
import "../page/preferences-element.js";
import type { CarillonPreferences as CarillonPreferencesElement } from "../page/preferences-element.js";
import type { PreferencesEvents } from "../preferences.js";
import { type CommonProps, component } from "./component.js";

export type { CarillonPreferencesElement };

type Listener<Name extends keyof PreferencesEvents> = ((event: PreferencesEvents[Name]) => void) | undefined;

export interface CarillonPreferencesProps
  extends CommonProps, Omit<HTMLAttributes<CarillonPreferencesElement>, "children" | "dangerouslySetInnerHTML"> {
  /** The address of the service worker, of the page's own origin; the default is `/carillon-sw.js`. */
  worker?: string | undefined;
  /** Other words; those left out stay as they are. */
  labels?: Partial<PreferencesLabels> | undefined;
  /** A change was saved. */
  onPreferences?: Listener<"carillon-preferences">;
  /** Somebody turned pushes to this browser on or off, or tried to. */
  onWebPush?: Listener<"carillon-webpush">;
}

export const CarillonPreferences: ForwardRefExoticComponent<
  CarillonPreferencesProps & RefAttributes<CarillonPreferencesElement>
> = /* @__PURE__ */ component<CarillonPreferencesElement, CarillonPreferencesProps>("carillon-preferences", {
  attributes: {},
  events: { onPreferences: "carillon-preferences", onWebPush: "carillon-webpush" },
});
