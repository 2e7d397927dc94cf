/**
 * Publishing over HTTP: `POST {url}/v1/publish/{topic}`. A request that got no answer, or a 502, 503 or 504, is sent
 * again under the same key until the timeout.
 */

import { setTimeout as pause } from "node:timers/promises";

import { NoReceipt, problemOf, WrongUse } from "./errors.js";
import type { Outgoing, Transport } from "./outgoing.js";
import { isObject, type NotificationEvent, readObject, readReceipt, type Receipt } from "./receipt.js";

// Each is a connection of its own; more waits for its turn.
const OUTSTANDING = 64;

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5_000;

// 502 and 504 are a proxy's, and say nothing about the publish.
const AGAIN: readonly number[] = [502, 503, 504];

// The codes of answers that are not the router's: the door's own, or a proxy's.
const CODES: { readonly [status: number]: string } = {
  401: "unauthorized",
  403: "unauthorized",
  400: "invalid_payload",
  404: "unknown_topic",
  409: "idempotency_conflict",
  413: "too_large",
  429: "rate_limited",
};

export class HttpTransport implements Transport {
  readonly #base: string;
  readonly #authorization: string;
  readonly #turns: (() => void)[] = [];
  readonly #sending = new Set<AbortController>();
  #outstanding = 0;
  #closed = false;

  constructor(url: URL, key: string) {
    // RFC 6750, 2.1: what a bearer token is made of.
    if (!/^[A-Za-z0-9._~+/-]+=*$/.test(key)) throw new WrongUse("key is not a publisher's key");
    if (url.username || url.password || url.search || url.hash) throw new WrongUse("url has a login, a ? or a #");
    this.#base = `${url.origin}${url.pathname.replace(/\/+$/, "")}/v1/publish/`;
    this.#authorization = `Bearer ${key}`;
  }

  async publish(outgoing: Outgoing): Promise<Receipt> {
    const { key, timeoutMs } = outgoing;
    if (key !== undefined && !/^[\x20-\x7e]+$/.test(key)) {
      throw new WrongUse("over HTTP an idempotency key is printable ASCII");
    }
    if (this.#outstanding >= OUTSTANDING) await new Promise<void>((resolve) => this.#turns.push(resolve));
    else this.#outstanding += 1;
    const ended = new AbortController();
    const timer = setTimeout(() => ended.abort(), timeoutMs);
    this.#sending.add(ended);
    try {
      return await this.#answered(outgoing, ended.signal);
    } finally {
      clearTimeout(timer);
      this.#sending.delete(ended);
      const next = this.#turns.shift();
      if (next) next();
      else this.#outstanding -= 1;
    }
  }

  events(): AsyncIterableIterator<NotificationEvent> {
    throw new WrongUse("events are told over MQTT only");
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const each of this.#sending) each.abort();
  }

  async #answered({ topic, payload, key, timeoutMs }: Outgoing, ended: AbortSignal): Promise<Receipt> {
    const url = this.#base + topic.split("/").map(encodeURIComponent).join("/");
    const headers = {
      authorization: this.#authorization,
      "content-type": "application/json",
      ...(key === undefined ? {} : { "idempotency-key": quoted(key) }),
    };
    let problem = "the server does not answer";
    let pauseMs = FIRST_PAUSE_MS;
    for (let sends = 1; !this.#closed && !ended.aborted; sends += 1) {
      let askedMs = 0;
      try {
        // A redirect would send the key elsewhere.
        const request = { method: "POST", headers, body: payload, signal: ended, redirect: "manual" } as const;
        const response = await fetch(url, request);
        const text = await response.text();
        if (!AGAIN.includes(response.status)) return receiptOf(response, text, sends);
        problem = `the server answered ${response.status}`;
        askedMs = (retryAfterS(response) ?? 0) * 1000;
      } catch (error) {
        if (!ended.aborted) problem = `the server cannot be reached (${problemOf(error)})`;
      }
      const waitMs = Math.max(pauseMs * (0.5 + Math.random() / 2), askedMs);
      await pause(waitMs, undefined, { signal: ended }).catch(() => undefined);
      pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS);
    }
    if (this.#closed) throw new NoReceipt("the publisher was closed", key);
    throw new NoReceipt(`${problem} (waited ${timeoutMs / 1000} s)`, key);
  }
}

/** RFC 9110, 5.6.4: what a header would not give back as it is stands in quotes. */
function quoted(key: string): string {
  return /^[A-Za-z0-9._:-]+$/.test(key) ? key : `"${key.replace(/["\\]/g, "\\$&")}"`;
}

/** Read the answer, also where it is not the router's. */
function receiptOf(response: Response, text: string, sends: number): Receipt {
  const receipt = readReceipt(text, sends);
  const retry_after_s = retryAfterS(response);
  if (receipt !== undefined) {
    const { error } = receipt;
    if (error?.code !== "rate_limited" || error.retry_after_s !== undefined || retry_after_s === undefined)
      return receipt;
    return { ...receipt, error: { ...error, retry_after_s } };
  }
  const code = CODES[response.status] ?? "rejected";
  const message = `The server answered ${response.status} without a receipt.`;
  const said = readObject(text)?.["error"];
  const limited = code === "rate_limited" && retry_after_s !== undefined ? { retry_after_s } : {};
  // The door's own refusal has the shape of the router's.
  const error = { message, fields: [], ...(isObject(said) ? said : {}), code, ...limited };
  return { status: "rejected", error, sends };
}

/** RFC 9110, 10.2.3, in seconds; its other form, a date, is not one that Carillon writes. */
function retryAfterS(response: Response): number | undefined {
  const header = response.headers.get("retry-after");
  return header !== null && /^\d{1,6}$/.test(header) ? Number(header) : undefined;
}
