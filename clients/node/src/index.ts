/** `@carillon/publisher`: publishes notifications to Carillon over MQTT or HTTP. */

export { CarillonError, NoReceipt, NotConnected, RateLimited, Refused, WrongUse } from "./errors.js";
export {
  type CancelOptions,
  type EventsOptions,
  NotificationPublisher,
  type Payload,
  type PublishOptions,
} from "./notification-publisher.js";
export type * from "./payloads.js";
export { type ConnectOptions, Publisher } from "./publisher.js";
export type { FieldProblem, NotificationEvent, Recall, Receipt, Rejection } from "./receipt.js";
