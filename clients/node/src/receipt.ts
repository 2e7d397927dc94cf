/**
 * What a publisher hears of a publish: the receipt, with the names that it has on the wire.
 */

/** One field of a payload and what is wrong with it. */
export interface FieldProblem {
  /** The path in the payload (`emails.3.to`) or the name of a topic level; empty for the whole payload. */
  readonly field: string;
  /** A short stable phrase such as `required`. */
  readonly problem: string;
  /** The name that was most likely meant. */
  readonly meant?: string;
}

/** Why a publish was rejected. */
export interface Rejection {
  /** `invalid_payload`, `unknown_topic`, `rate_limited` … */
  readonly code: string;
  /** One sentence for a person. */
  readonly message: string;
  readonly fields: readonly FieldProblem[];
  /** With `rate_limited`: in how many seconds the publish may come again. */
  readonly retry_after_s?: number;
}

/** What a recall does, counted in deliveries. */
export interface Recall {
  /** Ended before they left. */
  readonly stopped: number;
  /** Entries that leave inboxes and the feed. */
  readonly inbox: number;
  /** Pushes that are replaced or removed where the device allows it. */
  readonly push: number;
  /** What was sent, or may have been, and cannot be taken back. */
  readonly not_recalled: readonly { readonly channel: string; readonly count: number }[];
}

/** The router's answer to one publish. */
export interface Receipt {
  readonly status: "accepted" | "duplicate" | "rejected";
  readonly notification_id?: string;
  readonly alert_id?: string;
  readonly session_id?: string;
  readonly accepted_at?: string;
  /** Of a cancellation that asks for it. */
  readonly recall?: Recall;
  readonly error?: Rejection;
  /** What will not happen although the publish was accepted. */
  readonly warnings?: readonly FieldProblem[];
  /**
   * How often it was sent until this answer came; not the router's word. A duplicate with more than one is usually the
   * same publish.
   */
  readonly sends: number;
}

/** A later step of a notification whose payload says `"events": true`. */
export interface NotificationEvent {
  readonly state: string;
  readonly channel: string | null;
  readonly recipient: string | null;
  readonly reason: string | null;
  readonly at: string;
  readonly [more: string]: unknown;
}

const STATUSES: readonly unknown[] = ["accepted", "duplicate", "rejected"];

/** Read a receipt; undefined for what is none. */
export function readReceipt(text: string, sends: number): Receipt | undefined {
  const found = readObject(text);
  if (found === undefined || !STATUSES.includes(found["status"])) return undefined;
  const receipt = { ...found, sends } as unknown as Receipt;
  return receipt.status === "rejected" ? { ...receipt, error: rejection(found["error"]) } : receipt;
}

/** Fill in what a rejection without a reason leaves out, so that nobody has to ask for it. */
function rejection(found: unknown): Rejection {
  const said = isObject(found) ? found : {};
  return { code: "rejected", message: "The router gave no reason.", fields: [], ...said };
}

/** Read a JSON object; undefined for every other text. */
export function readObject(text: string): Record<string, unknown> | undefined {
  try {
    const found: unknown = JSON.parse(text);
    return isObject(found) ? found : undefined;
  } catch {
    return undefined;
  }
}

/** Tell whether a value is what JSON calls an object. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
