/** `@carillon/publisher/testing`: a publisher for the tests of a service that publishes. */

export { FakePublisher, type Published } from "./fake.js";
export { read as check, type Read as Checked } from "./read.js";
