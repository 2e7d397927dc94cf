/**
 * The publisher's client: publishes, and returns what the router answered.
 *
 *     const publisher = await Publisher.connect({ url: "mqtt://broker.example.com" });
 *     const receipt = await publisher.sendUser("user123", { message: "Hello" });
 *
 * Promises that a publish returns only after the router has stored it, that one whose answer was lost with the
 * connection is sent again under the same idempotency key, and that many may be in flight at once. Keeps nothing on
 * disk: what has no receipt when the process ends, or when the timeout is over, may or may not have been accepted. No
 * order is promised.
 */

import { setTimeout as pause } from "node:timers/promises";

import { refusal, WrongUse } from "./errors.js";
import { HttpTransport } from "./http.js";
import { MqttTransport } from "./mqtt.js";
import {
  type EventsOptions,
  NotificationPublisher,
  type Payload,
  type PublishOptions,
} from "./notification-publisher.js";
import { outgoing, type Transport } from "./outgoing.js";
import type { NotificationEvent, Receipt } from "./receipt.js";

export interface ConnectOptions {
  /** `mqtt://`, `mqtts://`, `ws://` or `wss://` with the broker's login in it, or the `http(s)://` of Carillon. */
  url: string;
  /**
   * The publisher's name at a broker that knows it: topics are `from/{name}/…`. With HTTP the key says who publishes.
   */
  name?: string;
  /** The publisher's key for HTTP. */
  key?: string;
  /** Put before every topic, like the services' `TOPIC_PREFIX`; MQTT only. */
  topicPrefix?: string;
  /** The client id at the broker; the name, or else a random one. Two connections with the same one end each other. */
  clientId?: string;
  /** CA certificates in PEM in place of the system's; MQTT only. For HTTP there is `NODE_EXTRA_CA_CERTS`. */
  ca?: string | Uint8Array;
  /** How long the first connection may take. */
  connectTimeoutMs?: number;
}

// One level of a topic, and a login of the broker.
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;

const CONNECT_TIMEOUT_MS = 10_000;

export class Publisher extends NotificationPublisher {
  readonly #transport: Transport;

  private constructor(transport: Transport) {
    super();
    this.#transport = transport;
  }

  /**
   * Connect to a broker and return when the connection stands. Over HTTP nothing is sent before the first publish.
   *
   * @throws WrongUse an option is not valid
   * @throws NotConnected the first connection did not come about. Later ones are tried again.
   */
  static async connect(options: ConnectOptions): Promise<Publisher> {
    const url = readUrl(options.url);
    if (options.name !== undefined && !NAME.test(options.name)) {
      throw new WrongUse("a publisher's name has 1 to 64 letters, digits, hyphens, dots and underscores");
    }
    if (url.protocol === "http:" || url.protocol === "https:") {
      if (options.key === undefined) throw new WrongUse("HTTP needs the publisher's key");
      return new Publisher(new HttpTransport(url, options.key));
    }
    if (options.key !== undefined) throw new WrongUse("key is for HTTP; a broker's login stands in the URL");
    const { name, clientId, ca, topicPrefix = "", connectTimeoutMs = CONNECT_TIMEOUT_MS } = options;
    return new Publisher(await MqttTransport.connect(url, { name, clientId, ca, topicPrefix, connectTimeoutMs }));
  }

  override async publish(topic: string, payload: Payload, options: PublishOptions = {}): Promise<Receipt> {
    let next = outgoing(topic, payload, options);
    const end = performance.now() + next.timeoutMs;
    for (;;) {
      const receipt = await this.#transport.publish(next);
      if (receipt.status !== "rejected") return receipt;
      const refused = refusal(receipt);
      const waitMs = (refused.retryAfterS ?? Infinity) * 1000;
      const leftMs = end - performance.now() - waitMs;
      if (!options.waitWhenLimited || leftMs <= 0) throw refused;
      await pause(waitMs);
      next = { ...next, timeoutMs: leftMs };
    }
  }

  override events(notificationId: string, options: EventsOptions = {}): AsyncIterableIterator<NotificationEvent> {
    return this.#transport.events(notificationId, options.signal);
  }

  override close(): Promise<void> {
    return this.#transport.close();
  }
}

const PROTOCOLS = new Set(["mqtt:", "mqtts:", "ws:", "wss:", "http:", "https:"]);

function readUrl(text: string): URL {
  try {
    const url = new URL(text);
    if (PROTOCOLS.has(url.protocol) && url.hostname) return url;
  } catch {
    // The error quotes the URL, which may hold a password.
  }
  throw new WrongUse("url is not like mqtt://host, mqtts://host, http://host or https://host");
}
