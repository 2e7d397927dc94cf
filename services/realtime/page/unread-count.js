// @ts-check
/**
 * One number from two sources that arrive in any order.
 *
 * The server's count already includes a notification whose own frame may come before it, after it, or (replayed
 * on connecting) much later. Adding one for each frame would count those twice.
 *
 * @module
 */

export class UnreadCount {
  /** @type {number | null} */
  #value = null;
  /** Notifications inside the server's count whose own frames have not been seen. */
  #expected = 0;
  /** Whether the value rests on the server's word alone. */
  confirmed = true;

  /** The count, or null before the server has named one. */
  get value() {
    return this.#value;
  }

  /**
   * Take the server's word.
   *
   * @param {number} unread
   */
  stated(unread) {
    this.#expected = Math.max(0, unread - (this.#value ?? 0));
    this.#value = unread;
    this.confirmed = true;
  }

  /** Count one unread notification that was not seen before. */
  arrived() {
    if (this.#expected > 0) {
      this.#expected -= 1;
      return;
    }
    this.#value = (this.#value ?? 0) + 1;
    this.confirmed = false;
  }
}
