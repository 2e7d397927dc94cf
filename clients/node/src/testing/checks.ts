/** The checks that JSON Schema has no words for: each returns what is wrong, or undefined. */

import { domainToASCII } from "node:url";

import { isObject } from "../receipt.js";
import { type Check, RULES } from "./rules.js";

/** Make the checks of these names, and return the first problem. */
export function problemWith(value: unknown, names: readonly string[]): string | undefined {
  for (const name of names) {
    for (const check of RULES.checks[name] ?? []) {
      const problem = CHECKS[check.check]?.(value, check);
      if (problem !== undefined) return problem;
    }
  }
  return undefined;
}

/** Tell whether a text matches a pattern from its beginning to its end. */
export function fits(text: string, pattern: string): boolean {
  return new RegExp(`^(?:${pattern})$`, "u").test(text);
}

/** Return a moment that has passed its check in epoch seconds. */
export function epochS(value: unknown): number {
  return typeof value === "number" ? value : (instantMs(String(value)) ?? NaN) / 1000;
}

/** Return a length of time that has passed its check in seconds; undefined for a text that is none. */
export function lengthS(value: unknown, check: { readonly [more: string]: unknown }): number | undefined {
  const [, count, unit] = new RegExp(`^(?:${String(check["pattern"])})$`, "u").exec(String(value)) ?? [];
  const units = check["units_s"] as { readonly [unit: string]: number };
  // As the router keeps a number: in whole microseconds.
  if (typeof value === "number") return Math.round(value * 1e6) / 1e6;
  return unit === undefined ? undefined : Number(count) * (units[unit] ?? NaN);
}

const CHECKS: { readonly [check: string]: (value: unknown, check: Check) => string | undefined } = {
  lacks: (value, { pattern, problem }) => (new RegExp(String(pattern), "u").test(String(value)) ? problem : undefined),
  matches: (value, { pattern, problem }) => (fits(String(value), String(pattern)) ? undefined : problem),
  email: emailProblem,
  phone: phoneProblem,
  https_url: (value, { problem }) => (isHttpsUrl(String(value)) ? undefined : problem),
  base64url: base64urlProblem,
  timezone: (value, { problem }) => (isTimeZone(String(value)) ? undefined : problem),
  moment: momentProblem,
  date: dateProblem,
  time: timeProblem,
  rate: rateProblem,
  duration: durationProblem,
  unique: (value, { field, problem }) => {
    const each = (value as readonly Record<string, unknown>[]).map((item) => item[String(field)]);
    return new Set(each).size === each.length ? undefined : problem;
  },
  bounded: boundedProblem,
};

function emailProblem(value: unknown, check: Check): string | undefined {
  const text = String(value);
  const at = text.lastIndexOf("@");
  const local = text.slice(0, Math.max(at, 0));
  const said = text.slice(at + 1);
  const domain = /^[\x21-\x7e]*$/.test(said) ? said : domainToASCII(said);
  const refused = check["refused_domains"] as readonly string[];
  const lower = domain.toLowerCase();
  const isGood =
    local.length <= Number(check["local_chars"]) &&
    fits(local, String(check["local"])) &&
    domain.length <= Number(check["domain_chars"]) &&
    fits(domain, String(check["domain"])) &&
    !refused.some((each) => lower === each || lower.endsWith(`.${each}`));
  return isGood ? undefined : check.problem;
}

function phoneProblem(value: unknown, check: Check): string | undefined {
  const lengths = check["lengths"] as { readonly [code: string]: readonly number[] };
  const digits = String(value).slice(1);
  // No country code is the beginning of another one (ITU-T E.164, 6.2).
  const code = [1, 2, 3].map((length) => digits.slice(0, length)).find((each) => Object.hasOwn(lengths, each));
  return code !== undefined && lengths[code]?.includes(digits.length - code.length) ? undefined : check.problem;
}

function isHttpsUrl(text: string): boolean {
  const [, scheme, authority] = /^([A-Za-z]+):\/\/([^/?#]*)/.exec(text) ?? [];
  if (scheme === undefined || !authority || authority.includes("@") || !/^[\x21-\x7e]*$/.test(text)) return false;
  try {
    const { protocol, hostname } = new URL(text);
    const isLoopback = hostname === "localhost" || hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(hostname);
    return protocol === "https:" || (protocol === "http:" && isLoopback);
  } catch {
    return false;
  }
}

function base64urlProblem(value: unknown, check: Check): string | undefined {
  const text = String(value).replace(/=+$/, "");
  if (!/^[A-Za-z0-9_-]+$/.test(text) || text.length % 4 === 1) return check.problem;
  const bytes = Buffer.from(text, "base64url");
  const first = check["first_byte"];
  const isGood = bytes.length === check["bytes"] && (first === undefined || bytes[0] === first);
  return isGood ? undefined : String(check["problem_bytes"]);
}

const TIME_ZONES = new Set(Intl.supportedValuesOf("timeZone"));

function isTimeZone(name: string): boolean {
  if (TIME_ZONES.has(name)) return true;
  // Node lists no second names of a zone, and takes them in any case.
  if (!/^[A-Z]/.test(name)) return false;
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

function momentProblem(value: unknown, check: Check): string | undefined {
  let seconds = value;
  if (typeof value === "string") {
    if (!fits(value, String(check["pattern"]))) return check.problem;
    const found = instantMs(value);
    if (found === undefined) return String(check["problem_existing"]);
    seconds = found / 1000;
  }
  const isGood = Number(check["from_s"]) <= Number(seconds) && Number(seconds) < Number(check["before_s"]);
  return isGood ? undefined : String(check["problem_range"]);
}

/** Read RFC 3339 as Python does: no 60th second, and an offset of less than a day. */
function instantMs(text: string): number | undefined {
  const parts = /^(\d{4})-(\d\d)-(\d\d).(\d\d):(\d\d):(\d\d)(\.\d+)?(?:[Zz]|([+-])(\d\d):(\d\d))$/.exec(text);
  if (parts === null) return undefined;
  const [year, month, day, hour, minute, second] = parts.slice(1, 7).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const offsetMin = Number(parts[9] ?? 0) * 60 + Number(parts[10] ?? 0);
  if (!isDate(year, month, day) || hour > 23 || minute > 59 || second > 59 || offsetMin >= 24 * 60) return undefined;
  const sign = parts[8] === "-" ? -1 : 1;
  const ms = Date.UTC(year, month - 1, day, hour, minute, second) + Number(parts[7] ?? 0) * 1000;
  return ms - sign * offsetMin * 60_000;
}

function isDate(year: number, month: number, day: number): boolean {
  if (year < 1 || month < 1 || month > 12 || day < 1) return false;
  return day <= new Date(Date.UTC(year % 400 || 400, month, 0)).getUTCDate();
}

function dateProblem(value: unknown, check: Check): string | undefined {
  const text = String(value);
  if (!fits(text, String(check["pattern"]))) return check.problem;
  const [year, month, day] = text.split("-").map(Number) as [number, number, number];
  if (!isDate(year, month, day)) return String(check["problem_existing"]);
  const isGood = Number(check["from_year"]) <= year && year < Number(check["before_year"]);
  return isGood ? undefined : String(check["problem_range"]);
}

function timeProblem(value: unknown, check: Check): string | undefined {
  const text = String(value);
  if (!fits(text, String(check["pattern"]))) return check.problem;
  const [hour, minute] = text.split(":").map(Number) as [number, number];
  return hour > 23 || minute > 59 ? String(check["problem_existing"]) : undefined;
}

function rateProblem(value: unknown, check: Check): string | undefined {
  if (value === 0 || value === "0") return undefined;
  const [, publishes, times, unit] = new RegExp(`^(?:${String(check["pattern"])})$`, "u").exec(String(value)) ?? [];
  const units = check["units_s"] as { readonly [unit: string]: number };
  const seconds = Number(times) * (unit ? (units[unit] ?? NaN) : 1);
  return Number(publishes) > 0 && seconds > 0 && seconds <= Number(check["longest_s"]) ? undefined : check.problem;
}

function durationProblem(value: unknown, check: Check): string | undefined {
  const seconds = lengthS(value, check);
  if (seconds === undefined) return check.problem;
  const isGood = Number(check["from_s"]) <= seconds && seconds <= Number(check["to_s"]);
  return isGood ? undefined : String(check["problem_range"]);
}

/** Refuse what is JSON to one reader only: deep nesting, and 1e999, which JavaScript reads as infinity. */
function boundedProblem(value: unknown, check: Check): string | undefined {
  let level: readonly object[] = [value as object];
  for (let depth = 0; depth < Number(check["levels"]); depth += 1) {
    const below: object[] = [];
    for (const each of level.flatMap((container) => Object.values(container) as unknown[])) {
      if (isObject(each) || Array.isArray(each)) below.push(each);
      else if (typeof each === "number" && !Number.isFinite(each)) return String(check["problem_number"]);
    }
    if (below.length === 0) return undefined;
    level = below;
  }
  return check.problem;
}
