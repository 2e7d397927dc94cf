/**
 * What can go wrong with a publish, named after what happened.
 *
 *     CarillonError
 *     +- WrongUse         no server would take it: a topic, a size, an option; nothing was sent
 *     +- NotConnected     the first connection did not come about
 *     +- Refused          the router rejected it; the same again would be rejected again
 *     |  +- RateLimited   except this one: again after retryAfterS
 *     +- NoReceipt        nobody answered in time: it may have been accepted, so send it again with the same key only
 */

import type { FieldProblem, Receipt } from "./receipt.js";

export class CarillonError extends Error {
  constructor(message: string) {
    super(message);
    this.name = new.target.name;
  }
}

export class WrongUse extends CarillonError {}

export class NotConnected extends CarillonError {}

export class Refused extends CarillonError {
  readonly receipt: Receipt;

  constructor(receipt: Receipt) {
    super(sentence(receipt));
    this.receipt = receipt;
  }

  /** The receipt's code: `invalid_payload`, `unauthorized`, `rate_limited` … */
  get code(): string {
    return this.receipt.error?.code ?? "rejected";
  }

  /** What is wrong, field by field. */
  get fields(): readonly FieldProblem[] {
    return this.receipt.error?.fields ?? [];
  }

  /** In how many seconds the publish may come again; undefined where it need not come again. */
  get retryAfterS(): number | undefined {
    return this.receipt.error?.retry_after_s;
  }
}

export class RateLimited extends Refused {}

export class NoReceipt extends CarillonError {
  /** The idempotency key that was used; undefined when the payload has an `id` of its own. */
  readonly key: string | undefined;

  constructor(problem: string, key: string | undefined) {
    super(`no receipt: ${problem}`);
    this.key = key;
  }
}

/** Make the error that a rejection is. */
export function refusal(receipt: Receipt): Refused {
  return receipt.error?.code === "rate_limited" ? new RateLimited(receipt) : new Refused(receipt);
}

function sentence({ error }: Receipt): string {
  if (error === undefined) return "rejected";
  const problems = error.fields.map(({ field, problem, meant }) => {
    const said = meant ? `${problem}, did you mean ${meant}?` : problem;
    return field ? `${field}: ${said}` : said;
  });
  return [`${error.code}: ${error.message}`, problems.join("; ")].filter(Boolean).join(" ");
}

/** Say in one line why something of Node's or a library's failed. */
export function problemOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // fetch says "fetch failed" and keeps the reason to itself; a connection that is tried on several addresses says
  // nothing but a code.
  if (error.cause instanceof Error) return problemOf(error.cause);
  const code = (error as NodeJS.ErrnoException).code;
  return error.message || (code ?? error.name);
}
