/**
 * Finds the known name that a misspelt one most likely stands for, as Python's difflib does: the router's receipts show
 * it, and so must the fake's.
 */

import { RULES } from "./rules.js";

const { names } = RULES;

/** Return the known name that is spelt most alike; undefined where none is near or the name is known. */
export function nearest(name: string, known: readonly string[], close = names.close): string | undefined {
  if (chars(name) > names.name_chars) return undefined;
  const byLetters = new Map(known.map((each) => [letters(each), each]));
  const found = closest(letters(name), [...byLetters.keys()], close);
  const meant = found && byLetters.get(found.name);
  return meant === name ? undefined : meant;
}

/** Return the field that is meant by an unknown one. */
export function meantField(name: string, known: readonly string[], said: readonly string[] = []): string | undefined {
  const others = Object.hasOwn(names.other_words, letters(name)) ? names.other_words[letters(name)] : undefined;
  return others?.find((each) => known.includes(each) && !said.includes(each)) ?? nearest(name, known);
}

/** The names that stand for others. */
export const OUR_WORDS = new Set(Object.values(names.other_words).flat());

const STEMS = new Map(RULES.topics.map(({ topic }) => [topic.split("/{")[0] as string, topic]));
const LEVELS = [...new Set(RULES.topics.flatMap(({ topic }) => topic.split("/")))].filter(
  (each) => !each.includes("{"),
);

/** Return the topic that was most likely meant by one that nothing listens on. */
export function nearestTopic(topic: string): string | undefined {
  const asked = topic.replace(/^\/+|\/+$/g, "");
  if (chars(asked) > names.topic_chars) return undefined;
  const cut = asked.lastIndexOf("/");
  const last = asked.slice(cut + 1);
  const candidates = [closest(asked.slice(0, Math.max(cut, 0)).toLowerCase(), [...STEMS.keys()], names.topic_close)];
  // Otherwise it is a parameter, which is another one each time and has nothing near it.
  if (LEVELS.includes(last) || nearest(last, LEVELS, names.level_close) !== undefined) {
    candidates.push(closest(asked.toLowerCase(), [...STEMS.keys()], names.topic_close));
  }
  let found: Found | undefined;
  for (const each of candidates) {
    const topics = [each, found].map((one) => (one && STEMS.get(one.name)) ?? "");
    const [ratio, before] = [each?.ratio ?? 0, found?.ratio ?? 0];
    if (ratio > before || (ratio === before && (topics[0] as string) > (topics[1] as string))) found = each;
  }
  return found && STEMS.get(found.name);
}

interface Found {
  readonly name: string;
  readonly ratio: number;
}

function letters(name: string): string {
  return name.toLowerCase().replace(/[_-]/g, "");
}

function chars(text: string): number {
  return [...text].length;
}

/** `difflib.get_close_matches(asked, known, n=1)`, with the ratio. */
function closest(asked: string, known: readonly string[], close: number): Found | undefined {
  let best: Found | undefined;
  for (const name of known) {
    const found = { name, ratio: ratio([...name], [...asked]) };
    if (found.ratio < close) continue;
    if (best === undefined || found.ratio > best.ratio || (found.ratio === best.ratio && name > best.name))
      best = found;
  }
  return best;
}

/** `difflib.SequenceMatcher(None, a, b).ratio()`. */
function ratio(a: readonly string[], b: readonly string[]): number {
  const total = a.length + b.length;
  return total === 0 ? 1 : (2 * matches(a, b)) / total;
}

/** Count what the longest common block, and what stands to its left and right, have in common. */
function matches(a: readonly string[], b: readonly string[]): number {
  let [size, startA, startB] = [0, 0, 0];
  let lengths = new Map<number, number>();
  a.forEach((char, i) => {
    const next = new Map<number, number>();
    b.forEach((other, j) => {
      if (char !== other) return;
      const length = (lengths.get(j - 1) ?? 0) + 1;
      next.set(j, length);
      // The first of the longest, as difflib takes it.
      if (length > size) [size, startA, startB] = [length, i - length + 1, j - length + 1];
    });
    lengths = next;
  });
  if (size === 0) return 0;
  const left = matches(a.slice(0, startA), b.slice(0, startB));
  return size + left + matches(a.slice(startA + size), b.slice(startB + size));
}
