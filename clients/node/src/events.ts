/** Iterates over the events of one notification as they come. */

import type { NotificationEvent } from "./receipt.js";

// Nobody reads what is older: an iteration that is not taken from must not fill the memory.
const KEPT = 1_000;

export class Watch implements AsyncIterableIterator<NotificationEvent> {
  /** Resolved when every later event reaches this watch. */
  readonly ready: Promise<void>;
  readonly #onEnd: () => void;
  readonly #kept: NotificationEvent[] = [];
  readonly #asked: ((result: IteratorResult<NotificationEvent, undefined>) => void)[] = [];
  readonly #stop = (): void => this.#end();
  #signal: AbortSignal | undefined;
  #isOver = false;

  constructor(ready: Promise<void>, onEnd: () => void) {
    this.ready = ready;
    this.#onEnd = onEnd;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** End the iteration when the signal does. */
  endWith(signal: AbortSignal | undefined): void {
    if (signal?.aborted) this.#end();
    if (this.#isOver) return;
    this.#signal = signal;
    signal?.addEventListener("abort", this.#stop);
  }

  push(event: NotificationEvent): void {
    if (this.#isOver) return;
    const asked = this.#asked.shift();
    if (asked) asked({ value: event, done: false });
    else if (this.#kept.push(event) > KEPT) this.#kept.shift();
  }

  async next(): Promise<IteratorResult<NotificationEvent, undefined>> {
    const event = this.#kept.shift();
    if (event) return { value: event, done: false };
    if (this.#isOver) return { value: undefined, done: true };
    return new Promise((resolve) => this.#asked.push(resolve));
  }

  async return(): Promise<IteratorResult<NotificationEvent, undefined>> {
    this.#kept.length = 0;
    this.#end();
    return { value: undefined, done: true };
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#signal?.removeEventListener("abort", this.#stop);
    for (const asked of this.#asked.splice(0)) asked({ value: undefined, done: true });
    this.#onEnd();
  }
}
