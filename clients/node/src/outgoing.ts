/**
 * A publish before it is sent: checked, encoded, and with its idempotency key.
 */

import { randomUUID } from "node:crypto";

import { WrongUse } from "./errors.js";
import { DEFAULT_TIMEOUT_MS, type Payload, type PublishOptions } from "./notification-publisher.js";
import { type NotificationEvent, readObject, type Receipt } from "./receipt.js";

export interface Outgoing {
  readonly topic: string;
  readonly payload: Uint8Array;
  /** Undefined where the payload has an `id`. */
  readonly key: string | undefined;
  readonly timeoutMs: number;
}

/** What carries a publish to the router and its receipt back. */
export interface Transport {
  /** @returns the receipt, whatever it says */
  publish(outgoing: Outgoing): Promise<Receipt>;
  events(notificationId: string, signal: AbortSignal | undefined): AsyncIterableIterator<NotificationEvent>;
  close(): Promise<void>;
}

// The largest payload of any topic (notifications/email/batch). A broker may cut the connection at more.
const PAYLOAD_BYTES = 1024 * 1024;

// MQTT 5, 1.5.4: a string has at most 65,535 bytes.
const STRING_BYTES = 65_535;

// MQTT 5, 4.7.1 and 4.7.3: a broker cuts the connection of a client that publishes on such a topic.
const NOT_IN_TOPICS = /[+#\0]/;

// setTimeout takes a signed number of 32 bits.
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;

/** Refuse what no server would take, and make up the key where there is none. */
export function outgoing(topic: string, payload: Payload, options: PublishOptions = {}): Outgoing {
  const { key, timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  if (
    typeof topic !== "string" ||
    topic === "" ||
    NOT_IN_TOPICS.test(topic) ||
    Buffer.byteLength(topic) > STRING_BYTES
  ) {
    throw new WrongUse("a topic to publish on is not empty and holds no +, # or NUL");
  }
  if (!(timeoutMs > 0 && timeoutMs <= LONGEST_TIMEOUT_MS)) throw new WrongUse("timeoutMs is a number above 0");
  if (key !== undefined && !isKey(key)) throw new WrongUse("an idempotency key is one line and not empty");
  const bytes = encoded(payload);
  if (bytes.byteLength > PAYLOAD_BYTES) throw new WrongUse(`the payload is larger than ${PAYLOAD_BYTES} bytes`);
  return { topic, payload: bytes, key: key ?? (ownId(bytes) ? undefined : randomUUID()), timeoutMs };
}

function encoded(payload: Payload): Uint8Array {
  if (payload instanceof Uint8Array) return payload;
  if (typeof payload !== "object" || payload === null) throw new WrongUse("a payload is an object or bytes");
  // JSON has no NaN and no infinity; JSON.stringify would write null, which reads as "not said".
  const text = JSON.stringify(payload, (name: string, value: unknown) => {
    if (typeof value === "number" && !Number.isFinite(value)) throw new WrongUse(`${name} is not a finite number`);
    if (typeof value === "bigint") throw new WrongUse(`${name} is a bigint, which JSON does not know`);
    return value;
  });
  return Buffer.from(text);
}

function ownId(payload: Uint8Array): boolean {
  return (readObject(Buffer.from(payload).toString("utf8"))?.["id"] ?? null) !== null;
}

function isKey(key: unknown): boolean {
  if (typeof key !== "string" || key === "" || Buffer.byteLength(key) > STRING_BYTES) return false;
  return !/[\u0000-\u001f\u007f-\u009f]/.test(key);
}
