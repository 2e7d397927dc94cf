/**
 * What a publisher can say, one method for each topic, whatever carries it. A service that takes a
 * `NotificationPublisher` is given a `Publisher` where it runs and a `FakePublisher` in its tests.
 */

import { WrongUse } from "./errors.js";
import type * as payloads from "./payloads.js";
import type { NotificationEvent, Receipt } from "./receipt.js";

export interface PublishOptions {
  /** The idempotency key; one is made up where neither this nor the payload's `id` says it. */
  key?: string;
  /** How long to wait for the receipt, from the first try to send. */
  timeoutMs?: number;
  /** Send again after a refusal for the rate, when the router says, as long as the timeout allows. */
  waitWhenLimited?: boolean;
}

export interface CancelOptions extends PublishOptions {
  /** Take back what was delivered, too. What came of it stands in the receipt's `recall`. */
  recall?: boolean;
}

export interface EventsOptions {
  /** Ends the iteration, as `break` and `close()` do. The client does not know which step is the last. */
  signal?: AbortSignal;
}

/** An object to be written as JSON, or the bytes as they are. No bytes are the empty payload. */
export type Payload = object | Uint8Array;

export const DEFAULT_TIMEOUT_MS = 10_000;

export abstract class NotificationPublisher {
  /**
   * Publish and wait for the receipt, which says accepted or duplicate.
   *
   * @param topic without the prefix and without `from/{name}/`
   * @throws Refused, NoReceipt, WrongUse
   */
  abstract publish(topic: string, payload: Payload, options?: PublishOptions): Promise<Receipt>;

  /** Follow a notification whose payload says `"events": true`. Events before this call are not repeated. */
  abstract events(notificationId: string, options?: EventsOptions): AsyncIterableIterator<NotificationEvent>;

  /** End the connection. What still waits for a receipt ends with NoReceipt. */
  abstract close(): Promise<void>;

  sendUser(userId: string, payload: payloads.RealtimePayload, options?: PublishOptions): Promise<Receipt> {
    return this.#publish("notifications/realtime/user", payload, options, userId);
  }

  sendGroup(groupId: string, payload: payloads.RealtimePayload, options?: PublishOptions): Promise<Receipt> {
    return this.#publish("notifications/realtime/group", payload, options, groupId);
  }

  broadcast(payload: payloads.BroadcastPayload, options?: PublishOptions): Promise<Receipt> {
    return this.#publish("notifications/realtime/broadcast", payload, options);
  }

  alert(
    level: payloads.AlertLevel,
    type: string,
    payload: payloads.AlertPayload,
    options?: PublishOptions,
  ): Promise<Receipt> {
    return this.#publish("notifications/alerts", payload, options, level, type);
  }

  acknowledge(alertId: string, payload: payloads.AcknowledgePayload, options?: PublishOptions): Promise<Receipt> {
    return this.#publish("notifications/alerts/acknowledge", payload, options, alertId);
  }

  resolve(alertId: string, payload: payloads.ResolvePayload = {}, options?: PublishOptions): Promise<Receipt> {
    return this.#publish("notifications/alerts/resolve", payload, options, alertId);
  }

  /** End what has not left yet, and with `recall` take back what was delivered. */
  cancel(notificationId: string, { recall, ...options }: CancelOptions = {}): Promise<Receipt> {
    const payload = recall === undefined ? {} : { recall };
    return this.#publish("notifications/cancel", payload, options, notificationId);
  }

  sendEmail(payload: payloads.EmailPayload, options?: PublishOptions): Promise<Receipt> {
    return this.#publish("notifications/email/send", payload, options);
  }

  sendEmailBatch(payload: payloads.EmailBatchPayload, options?: PublishOptions): Promise<Receipt> {
    return this.#publish("notifications/email/batch", payload, options);
  }

  sendSms(payload: payloads.SmsPayload, options?: PublishOptions): Promise<Receipt> {
    return this.#publish("notifications/sms/send", payload, options);
  }

  sendPush(platform: payloads.Platform, payload: payloads.PushPayload, options?: PublishOptions): Promise<Receipt> {
    return this.#publish("notifications/push/mobile", payload, options, platform);
  }

  /** Say how the system is: live to everybody, and the first thing that a new session sees. */
  status(payload: payloads.StatusPayload, options?: PublishOptions): Promise<Receipt> {
    return this.#publish("notifications/system/status", payload, options);
  }

  maintenance(payload: payloads.MaintenancePayload, options?: PublishOptions): Promise<Receipt> {
    return this.#publish("notifications/system/maintenance", payload, options);
  }

  async #publish(
    topic: string,
    payload: object,
    options: PublishOptions | undefined,
    ...levels: readonly string[]
  ): Promise<Receipt> {
    return this.publish([topic, ...levels.map(topicLevel)].join("/"), payload, options);
  }
}

/** Refuse what would make another topic of it. */
function topicLevel(text: string): string {
  if (typeof text !== "string" || text === "" || /[/+#\0]/.test(text)) {
    throw new WrongUse("the name of a user, a group, an alert or a notification is not empty and holds no / + or #");
  }
  return text;
}
