/**
 * The client and Web Push, without any look. Importing it does nothing.
 *
 * @module
 */

export { CarillonClient, CarillonError } from "./page/carillon.js";
export type { ClientOptions } from "./page/carillon.js";
export type { TokenSource } from "./page/api.js";
export type * from "./page/types.js";
export { WebPush } from "./page/web-push.js";
export type { WebPushState } from "./page/web-push.js";
