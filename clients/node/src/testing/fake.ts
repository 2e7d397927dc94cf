/**
 * A publisher for tests: it keeps what it is given and answers at once, as the router would.
 *
 * Promises the router's rejections and warnings for whatever is wrong with a topic or a payload: code, fields,
 * problems, what was meant. Does not know who exists, who may do what and how often: it takes what needs more than the
 * payload, unless a test says otherwise with `rejectNext`.
 */

import { NoReceipt, refusal } from "../errors.js";
import { Watch } from "../events.js";
import {
  type EventsOptions,
  NotificationPublisher,
  type Payload,
  type PublishOptions,
} from "../notification-publisher.js";
import { type Outgoing, outgoing } from "../outgoing.js";
import { type NotificationEvent, readObject, type Receipt, type Rejection } from "../receipt.js";
import { read, topicRules } from "./read.js";

/** A publish that was accepted. */
export interface Published {
  /** Without the prefix and without `from/{name}/`. */
  readonly topic: string;
  /** As it went over the wire: a Date has become a text. */
  readonly payload: Readonly<Record<string, unknown>>;
  /** The idempotency key; undefined where the payload has an `id`. */
  readonly key: string | undefined;
  readonly receipt: Receipt;
}

type Answer = { readonly rejection: Rejection } | { readonly silence: string };

export class FakePublisher extends NotificationPublisher {
  /** What was accepted, oldest first; a duplicate is not there twice. */
  readonly published: Published[] = [];
  readonly #byKey = new Map<string, { readonly bytes: string; readonly receipt: Receipt }>();
  readonly #next: Answer[] = [];
  readonly #watches = new Map<string, Set<Watch>>();
  #count = 0;
  #isClosed = false;

  /** Return what was accepted on topics that an MQTT filter matches: `notifications/realtime/user/+`. */
  publishedOn(filter: string): Published[] {
    const pattern = filter.split("/").map((level) => {
      if (level === "#") return ".*";
      return level === "+" ? "[^/]*" : level.replace(/[^\w]/g, "\\$&");
    });
    // MQTT 5, 4.7.1.2: a/# matches a, too.
    const matches = new RegExp(`^${pattern.join("/").replace(/\/\.\*$/, "(/.*)?")}$`, "s");
    return this.published.filter(({ topic }) => matches.test(topic));
  }

  /** Have the next publish that the rules let pass rejected: for its rate, or for rights that it does not have. */
  rejectNext(rejection: Partial<Rejection> & { readonly code: string }): void {
    this.#next.push({ rejection: { message: "Rejected by the test.", fields: [], ...rejection } });
  }

  /** Have the next publish end without a receipt, as if the broker were away. */
  failNext(problem = "the broker is away"): void {
    this.#next.push({ silence: problem });
  }

  /** Tell those who iterate over a notification's events of one. */
  tell(notificationId: string, event: Partial<NotificationEvent> & { readonly state: string }): void {
    const whole = { channel: null, recipient: null, reason: null, at: new Date().toISOString(), ...event };
    for (const watch of this.#watches.get(notificationId) ?? []) watch.push(whole);
  }

  /** Forget everything, for the next test. */
  reset(): void {
    this.published.length = this.#next.length = this.#count = 0;
    this.#byKey.clear();
  }

  override async publish(topic: string, payload: Payload, options: PublishOptions = {}): Promise<Receipt> {
    const given = outgoing(topic, payload, options);
    const answer = this.#isClosed ? { silence: "the publisher was closed" } : undefined;
    for (let sends = 1; ; sends += 1) {
      const receipt = this.#answer(given, sends, answer);
      if (receipt.status !== "rejected") return receipt;
      const refused = refusal(receipt);
      const again = options.waitWhenLimited && (refused.retryAfterS ?? Infinity) * 1000 < given.timeoutMs;
      if (!again) throw refused;
    }
  }

  override events(notificationId: string, options: EventsOptions = {}): AsyncIterableIterator<NotificationEvent> {
    const watches = this.#watches.get(notificationId) ?? new Set<Watch>();
    this.#watches.set(notificationId, watches);
    const watch: Watch = new Watch(Promise.resolve(), () => watches.delete(watch));
    watches.add(watch);
    watch.endWith(options.signal);
    return watch;
  }

  override async close(): Promise<void> {
    this.#isClosed = true;
    for (const watch of [...this.#watches.values()].flatMap((each) => [...each])) await watch.return();
  }

  #answer({ topic, payload, key }: Outgoing, sends: number, given: Answer | undefined): Receipt {
    const { error, warnings } = read(topic, payload, key === undefined ? {} : { id: key });
    if (error !== undefined) return { status: "rejected", error, sends };
    const answer = given ?? this.#next.shift();
    if (answer !== undefined && "silence" in answer) throw new NoReceipt(answer.silence, key);
    if (answer !== undefined) return { status: "rejected", error: answer.rejection, sends };

    const document = readObject(Buffer.from(payload).toString("utf8")) ?? {};
    const isNotification = topicRules(topic)?.notification === true;
    const known = typeof document["id"] === "string" ? document["id"] : key;
    const before = isNotification && known !== undefined ? this.#byKey.get(known) : undefined;
    const bytes = `${topic} ${Buffer.from(payload).toString("base64")}`;
    if (before !== undefined) return again(before, bytes, sends);

    this.#count += 1;
    // A UUIDv7 like the router's, and the same in every run of a test.
    const id = `00000000-0000-7000-8000-${this.#count.toString().padStart(12, "0")}`;
    const receipt: Receipt = {
      status: "accepted",
      notification_id: id,
      ...(/^notifications\/alerts\/(critical|warning|info)\//.test(topic) ? { alert_id: id } : {}),
      accepted_at: new Date().toISOString(),
      ...(warnings.length > 0 ? { warnings } : {}),
      sends,
    };
    if (isNotification && known !== undefined) this.#byKey.set(known, { bytes, receipt });
    this.published.push({ topic, payload: document, key, receipt });
    return receipt;
  }
}

function again(before: { readonly bytes: string; readonly receipt: Receipt }, bytes: string, sends: number): Receipt {
  if (before.bytes === bytes) {
    const { notification_id } = before.receipt;
    return { status: "duplicate", ...(notification_id === undefined ? {} : { notification_id }), sends };
  }
  const message = "This idempotency key was used for another notification within the last 24 hours.";
  return { status: "rejected", error: { code: "idempotency_conflict", message, fields: [] }, sends };
}
