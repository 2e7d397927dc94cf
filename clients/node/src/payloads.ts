/**
 * The payloads, topic by topic, with the names that they have on the wire. What a type cannot say (lengths, a mail
 * address) the router checks, and its rejection names the field.
 */

/** Epoch seconds, RFC 3339 with a time zone, or a Date. */
export type Moment = number | string | Date;

export type Priority = "low" | "normal" | "high" | "critical";
export type Channel = "realtime" | "email" | "sms" | "push";
export type Platform = "ios" | "android" | "web" | "ntfy";
export type AlertLevel = "critical" | "warning" | "info";

export type JsonObject = { readonly [name: string]: unknown };

/** What a reader can do with a notification in the inbox: open `url`, or press it. */
export interface Action {
  /** Tells it from the others. */
  id: string;
  /** What stands on it. */
  label: string;
  url?: string;
  style?: "primary";
  /** True or a text: pressing it is published on `notifications/actions/{notification_id}/{id}`. */
  topic?: boolean | string;
}

/** What every notification may say beside its content. */
export interface Envelope {
  /** The idempotency key: the same again within 24 hours is the same notification. Better given as the option `key`. */
  id?: string;
  category?: string;
  /** Whose customer's it is. */
  tenant?: string;
  /** Only these. */
  channels?: readonly Channel[];
  /** Not before. */
  send_at?: Moment;
  /** Not after. */
  expires_at?: Moment;
  /** Not after so many seconds. */
  ttl_s?: number;
  /** Publish each later step, for `events()`. */
  events?: boolean;
  /** What a reader can do with it in the inbox. */
  actions?: readonly Action[];
}

export interface Prioritised extends Envelope {
  priority?: Priority;
}

/** A template in place of the texts; `data` holds its variables. */
export interface FromTemplate {
  template: string;
  data?: JsonObject;
  /** The language of readers of whom the directory does not know one. */
  locale?: string;
  timezone?: string;
}

export interface Texts {
  message: string;
  title?: string;
  data?: JsonObject;
}

export type RealtimePayload = Prioritised & { type?: string } & (Texts | FromTemplate);
/** No `target_groups` is everybody. */
export type BroadcastPayload = RealtimePayload & { target_groups?: readonly string[] };

export interface AlertPayload extends Envelope {
  message: string;
  source?: string;
  severity?: string;
  affected_systems?: readonly string[];
  labels?: { readonly [label: string]: string };
  data?: JsonObject;
  /** What is wrong, so that one trouble is one alert. */
  dedup_key?: string;
  /** Alerts with the same one are one incident. */
  group_key?: string;
  starts_at?: Moment;
  /** A resolved one ends the open one with its `dedup_key`. */
  status?: "firing" | "resolved";
  /** It is over when nobody has said for so long that it is still so: `"24h"`, or seconds. */
  expires_after?: string | number;
}

export interface AcknowledgePayload {
  /** Who has seen the alert and takes it. */
  user_id: string;
  note?: string;
}

export interface ResolvePayload {
  /** Who says so, where it is a person. */
  user_id?: string;
  note?: string;
}

export interface StatusPayload extends Envelope {
  message: string;
  status?: string;
  /** Names, or names with their states. */
  services?: readonly string[] | { readonly [service: string]: string };
}

export interface MaintenancePayload extends Envelope {
  message: string;
  starts_at?: Moment;
  ends_at?: Moment;
  services?: readonly string[];
}

/** A mail's text, its HTML, or both: without a `body` the text is made from `html_body`. */
export type MailTexts = { subject: string } & (
  { body: string; html_body?: string } | { body?: string; html_body: string }
);

export type EmailPayload = Prioritised & { to: string } & (MailTexts | FromTemplate);

/** A mail of a batch; the batch is accepted and told of as one notification. */
export type BatchMail = Omit<Prioritised, "id" | "channels" | "events"> & { to: string } & (MailTexts | FromTemplate);

/** What it says of sending counts for each mail that does not say otherwise. */
export interface EmailBatchPayload extends Prioritised {
  emails: readonly BatchMail[];
}

export type SmsPayload = Prioritised & { phone: string } & ({ message: string } | FromTemplate);

/** A browser's subscription, as `PushSubscription.toJSON()` writes it. */
export interface WebPushSubscription {
  endpoint: string;
  keys: { p256dh: string; auth: string };
}

/** To a person's devices of the platform, to these tokens, or to both. */
export type PushTarget =
  | { user_id: string; tokens?: readonly (string | WebPushSubscription)[] }
  | { user_id?: string; tokens: readonly (string | WebPushSubscription)[] };

export type PushPayload = Prioritised & PushTarget & (Texts | FromTemplate);
