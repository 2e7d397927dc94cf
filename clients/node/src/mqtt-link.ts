/**
 * A connection to the broker that reconnects by itself.
 *
 * Promises that the wanted topics are subscribed before it says that it is up, and that it waits longer after each try
 * that failed. mqtt.js could reconnect, too, but would send again what it holds, also when nobody waits for it any
 * more. So each of its clients lives for one connection.
 */

import { Socket } from "node:net";

import mqtt, { type IClientOptions, type IClientPublishOptions, type IPublishPacket, type MqttClient } from "mqtt";

import { problemOf } from "./errors.js";

const FIRST_BACKOFF_MS = 200;
const LONGEST_BACKOFF_MS = 5_000;
// A connection that breaks earlier has not ended the trouble: another client has our id, or the broker refuses us.
const STEADY_AFTER_MS = 10_000;

const CLOSES_WITHIN_MS = 1_000;

// MQTT 5, 3.2.2.3.3: this many where the broker does not say how many it takes unconfirmed.
const RECEIVE_MAXIMUM = 65_535;

// MQTT 5, 3.14.2.1 and 3.9.3.
const SESSION_TAKEN_OVER = 0x8e;
const FAILURE = 0x80;

export interface LinkEvents {
  /** The connection stands and is subscribed. */
  up(): void;
  /** It does not any more; what was published on it and not confirmed may be lost. */
  down(): void;
  /** The first try to connect has failed. */
  failed(): void;
  arrived(packet: IPublishPacket): void;
}

export class Link {
  /** Why the connection last broke or did not come about. */
  problem = "";
  readonly #url: string;
  readonly #options: IClientOptions;
  readonly #events: LinkEvents;
  readonly #topics: Set<string>;
  readonly #unconfirmed = new Map<number, (reasonCode: number) => void>();
  #client: MqttClient | undefined;
  #isUp = false;
  #isClosed = false;
  #wasTried = false;
  #failures = 0;
  #retry: NodeJS.Timeout | undefined;
  #receiveMaximum = RECEIVE_MAXIMUM;

  /**
   * @param url without a login, which stands in the options
   * @param topics subscribed at every connect, and the first of them necessary
   */
  constructor(url: string, options: IClientOptions, topics: readonly string[], events: LinkEvents) {
    this.#url = url;
    this.#options = { ...options, protocolVersion: 5, clean: true, reconnectPeriod: 0, resubscribe: false };
    this.#topics = new Set(topics);
    this.#events = events;
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  /** Whether the broker takes another publish before it has confirmed one. */
  get hasRoom(): boolean {
    return this.#isUp && this.#unconfirmed.size < this.#receiveMaximum;
  }

  /** Connect, and keep the connection from now on. */
  open(): void {
    const client = mqtt.connect(this.#url, { ...this.#options });
    this.#client = client;
    // mqtt.js leaves Nagle's algorithm on, which holds a publish back for 40 ms until the broker has confirmed the last
    // packet (measured). A WebSocket's stream has no such switch, and ws has turned it off.
    if (client.stream instanceof Socket) client.stream.setNoDelay(true);
    let upSince = Infinity;
    // The first one that is known; the others follow from it.
    let problem: string | undefined;
    // Until the subscription is confirmed; mqtt.js would wait for that for ever.
    const timer = setTimeout(() => {
      problem ??= "the broker does not answer";
      client.end(true);
    }, this.#options.connectTimeout);
    client.on("error", (error) => {
      problem ??= problemOf(error);
    });
    client.on("disconnect", ({ reasonCode }) => {
      const isTakenOver = reasonCode === SESSION_TAKEN_OVER;
      const ended = `the broker ended the connection (reason code ${reasonCode})`;
      problem ??= isTakenOver ? "another client connected under the same client id" : ended;
    });
    client.on("packetreceive", (packet) => {
      if (packet.cmd !== "puback" || packet.messageId === undefined) return;
      const confirmed = this.#unconfirmed.get(packet.messageId);
      this.#unconfirmed.delete(packet.messageId);
      confirmed?.(packet.reasonCode ?? 0);
    });
    client.on("message", (_topic, _payload, packet) => this.#events.arrived(packet));
    client.on("connect", ({ properties }) => {
      this.#receiveMaximum = properties?.receiveMaximum ?? RECEIVE_MAXIMUM;
      client.subscribe([...this.#topics], { qos: 1 }, (error, _granted, packet) => {
        if (client !== this.#client) return;
        // The receipts come first. Without events one can publish.
        const refused = Number(packet?.granted[0] ?? 0) >= FAILURE;
        if (refused || packet === undefined) {
          problem ??= refused ? "the broker refuses the subscription to the receipts" : problemOf(error);
          client.end(true);
          return;
        }
        clearTimeout(timer);
        upSince = performance.now();
        this.#wasTried = this.#isUp = true;
        this.#events.up();
      });
    });
    client.once("close", () => {
      if (client !== this.#client) return;
      this.#client = undefined;
      clearTimeout(timer);
      // It holds a timer and what it could not send.
      client.end(true);
      this.problem = problem ?? "the connection was closed";
      this.#failures = performance.now() - upSince >= STEADY_AFTER_MS ? 1 : this.#failures + 1;
      this.#unconfirmed.clear();
      if (!this.#isClosed) this.#again();
    });
  }

  /** Publish on the connection that stands. `confirmed` is never called when it breaks before. */
  publish(topic: string, payload: Uint8Array, options: IClientPublishOptions, confirmed: (code: number) => void): void {
    const client = this.#client;
    if (client === undefined) return;
    client.publish(topic, Buffer.from(payload), { ...options, qos: 1 }, () => undefined);
    this.#unconfirmed.set(client.getLastMessageId(), confirmed);
  }

  /** Subscribe now and at every connect; resolved when the broker has answered, or at once while it is away. */
  async subscribe(topic: string): Promise<void> {
    this.#topics.add(topic);
    const client = this.#client;
    if (!this.#isUp || client === undefined) return;
    await new Promise<void>((resolve) => {
      // Without a connection there is no answer, and the next one subscribes.
      client.once("close", resolve);
      client.subscribe(topic, { qos: 1 }, () => {
        client.off("close", resolve);
        resolve();
      });
    });
  }

  unsubscribe(topic: string): void {
    this.#topics.delete(topic);
    if (this.#isUp) this.#client?.unsubscribe(topic, () => undefined);
  }

  /** End the connection for good. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#retry);
    const client = this.#client;
    if (client === undefined) return;
    // mqtt.js waits for what is not confirmed, and a broker that hangs would not even end the connection.
    const force = !this.#isUp || this.#unconfirmed.size > 0;
    const timer = setTimeout(() => client.stream.destroy(), CLOSES_WITHIN_MS);
    await new Promise<void>((resolve) => client.end(force, {}, () => resolve()));
    clearTimeout(timer);
    this.#isUp = false;
  }

  #again(): void {
    const wasUp = this.#isUp;
    this.#isUp = false;
    if (wasUp) this.#events.down();
    if (!this.#wasTried) {
      this.#wasTried = true;
      this.#events.failed();
      if (this.#isClosed) return;
    }
    const backoffMs = Math.min(FIRST_BACKOFF_MS * 2 ** (this.#failures - 1), LONGEST_BACKOFF_MS);
    this.#retry = setTimeout(() => this.open(), backoffMs * (0.5 + Math.random() / 2));
  }
}
