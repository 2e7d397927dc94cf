// @ts-check
/**
 * How long to wait between attempts. Pure arithmetic; the caller owns the timer.
 *
 * @module
 */

const FIRST_MS = 500;
const LONGEST_MS = 30_000;
/** Where the waits of a connection go on that works but keeps breaking: short, and not shorter each time. */
const EASED_STEP = 1;
/** Enough to spread the clients of one server over a restart. */
const SOON_MS = 1_000;

/** Exponential backoff with full jitter: clients that lost the same server do not return in step. */
export class Backoff {
  #step = 0;

  /** Take the next wait in milliseconds, evenly spread between nothing and the current ceiling. */
  next() {
    const ceiling_ms = Math.min(LONGEST_MS, FIRST_MS * 2 ** this.#step);
    if (ceiling_ms < LONGEST_MS) this.#step += 1;
    return Math.random() * ceiling_ms;
  }

  /** Take a short wait that counts as no failure, for a server that announced its leave. */
  soon() {
    return Math.random() * SOON_MS;
  }

  /** Take a wait from the upper half of the longest one, for a server that asked for fewer of us. */
  longest() {
    return LONGEST_MS * (0.5 + Math.random() / 2);
  }

  /** Forget most failures: the server has answered, if only for a moment. The next wait is at most a second. */
  ease() {
    this.#step = Math.min(this.#step, EASED_STEP);
  }

  /** Begin again with the shortest wait. */
  reset() {
    this.#step = 0;
  }
}
