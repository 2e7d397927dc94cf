/**
 * Everything: importing it defines `<carillon-inbox>` and `<carillon-preferences>`, and brings the client along.
 *
 * A page that needs a part imports that part: `@carillon/inbox/inbox`, `/preferences` or `/client`.
 *
 * @module
 */

export * from "./client.js";
export * from "./inbox.js";
export * from "./preferences.js";
