/**
 * Publishing over MQTT 5: each publish names a response topic, and the router's receipt comes back there with the
 * publish's correlation data.
 */

import { randomBytes, randomUUID } from "node:crypto";

import type { IClientOptions, IPublishPacket } from "mqtt";

import { NoReceipt, NotConnected, WrongUse } from "./errors.js";
import { Watch } from "./events.js";
import { Link } from "./mqtt-link.js";
import type { Outgoing, Transport } from "./outgoing.js";
import { type NotificationEvent, readObject, readReceipt, type Receipt } from "./receipt.js";

export interface MqttOptions {
  readonly name: string | undefined;
  readonly clientId: string | undefined;
  readonly topicPrefix: string;
  readonly ca: string | Uint8Array | undefined;
  readonly connectTimeoutMs: number;
}

const IDEMPOTENCY_PROPERTY = "idempotency-key";

// More waits for its turn: a publisher that is ahead of the router fills the broker's memory and nothing else.
const OUTSTANDING = 500;

const RESEND_PAUSE_MS = 250;
const KEEPALIVE_S = 30;
const NOBODY_ANSWERS = "the router does not answer";

// MQTT 5, 3.4.2.1: the broker has taken it, and nobody has subscribed to the topic.
const NO_MATCHING_SUBSCRIBERS = 0x10;
const NOT_AUTHORIZED = 0x87;
const FAILURE = 0x80;

// Events that came between the receipt and the call of events() are kept of this many notifications.
const EARLY_WATCHES = 100;

/** A publish that waits for its receipt. */
interface Pending {
  readonly outgoing: Outgoing;
  readonly correlation: string;
  readonly settle: (answer: Receipt | NoReceipt) => void;
  timer: NodeJS.Timeout | undefined;
  sends: number;
  problem: string;
}

export class MqttTransport implements Transport {
  readonly #prefix: string;
  readonly #topics: string;
  readonly #responseTopic: string;
  readonly #link: Link;
  /** By their correlation data; those that have not been sent on this connection stand in `#unsent`, too. */
  readonly #pending = new Map<string, Pending>();
  readonly #unsent = new Set<Pending>();
  /** Wait for a place among the outstanding ones. */
  readonly #waiting = new Set<Pending>();
  readonly #watches = new Map<string, Set<Watch>>();
  readonly #early = new Map<string, Watch>();
  #opened: (error?: NotConnected) => void = () => undefined;
  #closing: Promise<void> | undefined;
  #isClosed = false;

  /** @throws NotConnected, WrongUse */
  static async connect(url: URL, options: MqttOptions): Promise<MqttTransport> {
    const transport = new MqttTransport(url, options);
    try {
      await new Promise<void>((resolve, reject) => {
        transport.#opened = (error) => (error === undefined ? resolve() : reject(error));
        transport.#link.open();
      });
    } catch (error) {
      await transport.close();
      throw error;
    }
    return transport;
  }

  private constructor(url: URL, { name, clientId, topicPrefix, ca, connectTimeoutMs }: MqttOptions) {
    // MQTT 5, 3.1.3.1: every broker takes 23 letters and digits; the hyphen is taken by those that we know.
    const id = clientId ?? name ?? `carillon-${randomBytes(6).toString("hex")}`;
    if (id === "" || /[/+#\0]/.test(id)) {
      throw new WrongUse(
        "a client id is not empty and holds no / + or #, because it stands in the topic of the receipts",
      );
    }
    this.#prefix = topicPrefix;
    this.#topics = name === undefined ? topicPrefix : `${topicPrefix}from/${name}/`;
    // Two connections of one publisher are told of their own publishes only.
    const owner = name === undefined || name === id ? id : `${name}/${id}`;
    this.#responseTopic = `${topicPrefix}receipts/${owner}/publishes`;
    const login: IClientOptions = {
      ...(url.username ? { username: decoded(url.username) } : {}),
      ...(url.password ? { password: decoded(url.password) } : {}),
      ...(ca === undefined ? {} : { ca: Buffer.from(ca) }),
    };
    const address = new URL(url);
    address.username = address.password = "";
    const connection = { ...login, clientId: id, keepalive: KEEPALIVE_S, connectTimeout: connectTimeoutMs };
    this.#link = new Link(address.href, connection, [this.#responseTopic], {
      up: () => this.#onUp(),
      down: () => this.#onDown(),
      failed: () => this.#opened(new NotConnected(`the broker cannot be reached (${this.#link.problem})`)),
      arrived: (packet) => this.#onArrived(packet),
    });
  }

  async publish(outgoing: Outgoing): Promise<Receipt> {
    if (this.#isClosed) throw new NoReceipt("the publisher was closed", outgoing.key);
    const receipt = await this.#answered(outgoing);
    const { notification_id } = receipt;
    if (notification_id !== undefined && asksForEvents(outgoing.payload)) await this.#watchEarly(notification_id);
    return receipt;
  }

  events(notificationId: string, signal: AbortSignal | undefined): AsyncIterableIterator<NotificationEvent> {
    const early = this.#early.get(notificationId);
    this.#early.delete(notificationId);
    const watch = early ?? this.#watch(notificationId);
    watch.endWith(signal);
    return watch;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#isClosed = true;
    for (const pending of [...this.#pending.values(), ...this.#waiting]) {
      pending.settle(new NoReceipt("the publisher was closed", pending.outgoing.key));
    }
    for (const watches of [...this.#watches.values()]) {
      for (const watch of [...watches]) void watch.return();
    }
    await this.#link.close();
  }

  #answered(outgoing: Outgoing): Promise<Receipt> {
    return new Promise<Receipt>((resolve, reject) => {
      const correlation = randomUUID();
      const settle = (answer: Receipt | NoReceipt): void => {
        clearTimeout(pending.timer);
        this.#pending.delete(correlation);
        this.#unsent.delete(pending);
        this.#waiting.delete(pending);
        if (answer instanceof NoReceipt) reject(answer);
        else resolve(answer);
        this.#fill();
      };
      const pending: Pending = { outgoing, correlation, settle, timer: undefined, sends: 0, problem: NOBODY_ANSWERS };
      this.#waiting.add(pending);
      this.#fill();
    });
  }

  /** Give places among the outstanding ones to those that wait for one; the timeout counts from then on. */
  #fill(): void {
    if (this.#isClosed) return;
    for (const pending of this.#waiting) {
      if (this.#pending.size >= OUTSTANDING) break;
      this.#waiting.delete(pending);
      this.#pending.set(pending.correlation, pending);
      this.#unsent.add(pending);
      pending.timer = setTimeout(() => pending.settle(this.#noReceipt(pending)), pending.outgoing.timeoutMs);
    }
    this.#sendUnsent();
  }

  #sendUnsent(): void {
    for (const pending of this.#unsent) {
      if (!this.#link.hasRoom) return;
      this.#unsent.delete(pending);
      this.#send(pending);
    }
  }

  #send(pending: Pending): void {
    const { outgoing, correlation } = pending;
    pending.sends += 1;
    const properties = {
      responseTopic: this.#responseTopic,
      correlationData: Buffer.from(correlation),
      ...(outgoing.key === undefined ? {} : { userProperties: { [IDEMPOTENCY_PROPERTY]: outgoing.key } }),
    };
    this.#link.publish(this.#topics + outgoing.topic, outgoing.payload, { properties }, (code) => {
      if (code === NO_MATCHING_SUBSCRIBERS)
        this.#sendLater(pending, `nothing takes publishes; ${hint(outgoing.topic)}`);
      if (code === NOT_AUTHORIZED) this.#sendLater(pending, "the broker lets nobody publish there, or not this login");
      else if (code >= FAILURE) this.#sendLater(pending, `the broker did not take it (reason code ${code})`);
      this.#sendUnsent();
    });
  }

  #sendLater(pending: Pending, problem: string): void {
    pending.problem = problem;
    const { sends } = pending;
    setTimeout(() => {
      // It has its answer, or a new connection came before.
      if (!this.#pending.has(pending.correlation) || pending.sends !== sends) return;
      this.#unsent.add(pending);
      this.#sendUnsent();
    }, RESEND_PAUSE_MS).unref();
  }

  #noReceipt({ outgoing, problem }: Pending): NoReceipt {
    const said = this.#link.isUp ? problem : `the broker is away (${this.#link.problem})`;
    return new NoReceipt(`${said} (waited ${outgoing.timeoutMs / 1000} s)`, outgoing.key);
  }

  #onUp(): void {
    this.#opened();
    this.#sendUnsent();
  }

  #onDown(): void {
    // Whatever has no receipt may have lost it with the connection. The router knows it by its key.
    for (const pending of this.#pending.values()) {
      pending.problem = "the connection was lost";
      this.#unsent.add(pending);
    }
  }

  #onArrived({ topic, payload, properties }: IPublishPacket): void {
    const text = payload.toString("utf8");
    if (topic !== this.#responseTopic) {
      const event = readObject(text);
      const watches = this.#watches.get(topic) ?? [];
      if (event) for (const watch of [...watches]) watch.push(event as unknown as NotificationEvent);
      return;
    }
    // Without one that waits it is the receipt of a send that was repeated, or comes after the timeout.
    const pending = this.#pending.get(properties?.correlationData?.toString("utf8") ?? "");
    const receipt = pending && readReceipt(text, pending.sends);
    if (receipt) pending.settle(receipt);
  }

  /** Have the first events of a notification, which may be there before the caller has asked for them. */
  async #watchEarly(notificationId: string): Promise<void> {
    if (this.#early.has(notificationId)) return;
    const [oldest] = this.#early.values();
    if (oldest && this.#early.size >= EARLY_WATCHES) await oldest.return();
    const watch = this.#watch(notificationId);
    this.#early.set(notificationId, watch);
    await watch.ready;
  }

  #watch(notificationId: string): Watch {
    if (notificationId === "" || /[/+#\0]/.test(notificationId)) throw new WrongUse("that is no notification's id");
    const topic = `${this.#prefix}notifications/events/${notificationId}`;
    const watches = this.#watches.get(topic) ?? new Set<Watch>();
    this.#watches.set(topic, watches);
    const watch: Watch = new Watch(this.#link.subscribe(topic), () => {
      watches.delete(watch);
      if (this.#early.get(notificationId) === watch) this.#early.delete(notificationId);
      if (watches.size > 0) return;
      this.#watches.delete(topic);
      this.#link.unsubscribe(topic);
    });
    watches.add(watch);
    return watch;
  }
}

function asksForEvents(payload: Uint8Array): boolean {
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
  // Looked for before it is read: few ask for it.
  return bytes.includes('"events"') && readObject(bytes.toString("utf8"))?.["events"] === true;
}

/** Say what is most likely wrong where nobody listens: the router reads everything below these levels. */
function hint(topic: string): string {
  const isRead = /^(notifications|directory|websocket|liveness)\//.test(topic);
  return isRead ? "is the router running?" : "topics begin with notifications/, directory/, liveness/ or websocket/";
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new WrongUse("the login in the url is not percent-encoded");
  }
}
