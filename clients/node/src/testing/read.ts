/**
 * Checks a publish as the router does, with the same code, fields and problems.
 *
 * Only a router knows what needs more than the payload: rates, rights, deadlines, whether a person or a template
 * exists. The steps and their order are those of `clients/README.md` in Carillon's repository.
 */

import { type FieldProblem, isObject, type Rejection } from "../receipt.js";
import { meantField, nearestTopic, OUR_WORDS } from "./names.js";
import { message, resolved, RULES, type Schema, type Topic, word } from "./rules.js";
import { problemsOf, withoutNulls, written } from "./schema.js";

/** What came of it: a rejection, or warnings of what nobody reads. */
export interface Read {
  readonly error?: Rejection;
  readonly warnings: readonly FieldProblem[];
}

type Document = Record<string, unknown>;

const { limits, names } = RULES;

const TOPICS = RULES.topics.map((topic) => {
  const [stem = "", rest] = topic.topic.split("{");
  const [parameter, end = ""] = rest?.split("}") ?? [];
  return { topic, stem, parameter, end };
});

/**
 * Check one publish.
 *
 * @param topic without the prefix; `from/{name}/` at its beginning does not count
 * @param properties what the publish says beside its payload: `id`, `ttl_s`
 */
export function read(topic: string, payload: Uint8Array, properties: Document = {}): Read {
  const [, from = "", plain = topic] = /^(from\/(?!-\/)[^/]+\/)(.*)$/s.exec(topic) ?? [];
  const route = routeOf(plain);
  if (route === undefined) {
    const meant = [...from].length - "from//".length > names.topic_chars ? undefined : nearestTopic(plain);
    const text = message("unknown_topic") + (meant ? message("nearest_topic", { topic: from + meant }) : "");
    return rejected("unknown_topic", text);
  }
  return checked(route.topic, route.parameters, payload, properties);
}

/** Return the rules of a topic; undefined for one that nothing listens on. */
export function topicRules(topic: string): Topic | undefined {
  return routeOf(topic)?.topic;
}

function routeOf(topic: string): { topic: Topic; parameters: Document } | undefined {
  for (const each of TOPICS) {
    if (each.parameter === undefined) {
      if (topic === each.stem) return { topic: each.topic, parameters: {} };
      continue;
    }
    if (!topic.startsWith(each.stem) || !topic.endsWith(each.end)) continue;
    const level = topic.slice(each.stem.length, topic.length - each.end.length);
    if (level !== "" && !level.includes("/")) {
      return { topic: each.topic, parameters: { [each.parameter]: level } };
    }
  }
  return undefined;
}

function checked(topic: Topic, parameters: Document, payload: Uint8Array, properties: Document): Read {
  let bytes = payload.byteLength;
  if (bytes > topic.max_bytes) return rejected("too_large", message("too_large", { bytes, limit: topic.max_bytes }));
  if (topic.any_payload) bytes = 0;
  let schema = RULES.schemas[topic.schema] ?? {};
  let document: Document = {};
  if (bytes > 0 || topic.empty === "refused") {
    const found = objectOf(payload);
    if (typeof found === "string") return rejected("invalid_json", found);
    document = topic.nulls === "clear" ? withoutCleared(found, schema) : withoutNulls(found);
  } else if (topic.empty === "delete") {
    schema = { ...schema, properties: onlyParameters(schema, topic), required: [] };
  }
  if (bytes > limits.mail_bytes) {
    const error = tooLargeMails(document["emails"]);
    if (error !== undefined) return error;
  }
  if (topic.same_name) {
    const differing = Object.entries(parameters).filter(([name, value]) => (document[name] ?? value) !== value);
    const fields = differing.map(([field]) => ({ field, problem: word("differs_refused") }));
    if (fields.length > 0) return invalid(fields);
  }
  const said = document;
  document = {
    ...Object.fromEntries(Object.entries(properties).filter(([name]) => topic.properties?.includes(name))),
    ...said,
  };
  if (topic.notification && Object.hasOwn(document, "template")) {
    if (!topic.templated) return invalid([{ field: "template", problem: word("not_on_this_topic") }]);
    schema = RULES.schemas[topic.templated] ?? {};
  }
  const unread = topic.unknown_fields === "warn" ? unreadFields(topic, schema, said, parameters) : [];
  const found = problemsOf({ ...document, ...parameters }, schema);
  if (found.length === 0) return { warnings: unread };
  const unknown = unread.filter(({ problem }) => problem === word("unknown"));
  const shown = written(found.slice(0, limits.problems_shown), schema, limits.field_chars);
  const fields = distinct([...shown, ...unknown]).slice(0, limits.problems_shown);
  const total = found.length + unknown.length;
  return invalid(fields, total > limits.problems_shown ? total : fields.length);
}

function objectOf(payload: Uint8Array): Document | string {
  if (payload.byteLength === 0) return message("empty");
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(payload);
    const found: unknown = JSON.parse(text);
    if (hasLoneSurrogate(text)) throw new SyntaxError("lone surrogate");
    if (levels(text) > limits.json_levels) throw new SyntaxError("recursion limit exceeded");
    return isObject(found) ? found : message("not_an_object");
  } catch (error) {
    return message("not_json", { reason: error instanceof SyntaxError ? error.message : "invalid unicode code point" });
  }
}

/** Tell whether an escape writes half a character, which JSON.parse takes and no UTF-8 can say. */
function hasLoneSurrogate(text: string): boolean {
  const strings = text.match(/"(?:[^"\\]|\\.)*"/gs) ?? [];
  return strings.some((each) => each.includes("\\u") && /\p{Surrogate}/u.test(JSON.parse(each) as string));
}

function levels(text: string): number {
  let [deepest, depth] = [0, 0];
  for (const [part] of text.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{}]/gs)) {
    if (part === "[" || part === "{") deepest = Math.max(deepest, (depth += 1));
    if (part === "]" || part === "}") depth -= 1;
  }
  return deepest;
}

function withoutCleared(document: Document, schema: Schema): Document {
  const properties = schema.properties ?? {};
  const kept = Object.entries(document).filter(([name, value]) => value !== null || !Object.hasOwn(properties, name));
  const inside = kept.map(([name, value]) => {
    const known = resolved(properties[name] ?? {});
    if (!isObject(value)) return [name, value] as const;
    // A category is cleared by its name, whatever it is.
    if (known.propertyNames !== undefined) return [name, withoutNulls(value)] as const;
    return [name, known.properties === undefined ? value : withoutCleared(value, known)] as const;
  });
  return Object.fromEntries(inside);
}

function onlyParameters(schema: Schema, topic: Topic): Record<string, Schema> {
  return Object.fromEntries(topic.parameters.map((name) => [name, schema.properties?.[name] ?? {}]));
}

function tooLargeMails(mails: unknown): Read | undefined {
  if (!Array.isArray(mails)) return undefined;
  const larger = [...mails.keys()].filter(
    (index) => Buffer.byteLength(JSON.stringify(mails[index])) > limits.mail_bytes,
  );
  if (larger.length === 0) return undefined;
  const problem = word("mail_too_large", { limit: limits.mail_bytes });
  const fields = larger.slice(0, limits.problems_shown).map((index) => ({ field: `emails.${index}`, problem }));
  return rejected("too_large", message("mails_too_large", { limit: limits.mail_bytes, count: larger.length }), fields);
}

/** Name what a payload says and nothing reads; the first ones, and how many more. */
function unreadFields(topic: Topic, schema: Schema, document: Document, parameters: Document): FieldProblem[] {
  const known = Object.keys(schema.properties ?? {});
  const found: FieldProblem[] = Object.entries(parameters)
    .filter(([name, value]) => Object.hasOwn(document, name) && document[name] !== value)
    .map(([field]) => ({ field, problem: word("differs") }));
  const unknown = Object.keys(document).filter((name) => !known.includes(name));
  const said = Object.keys(document).filter((name) => OUR_WORDS.has(name));
  const others = known.filter((name) => !Object.hasOwn(parameters, name));
  for (const name of unknown.slice(0, limits.problems_shown)) {
    const fixed = topic.fixed !== undefined && Object.hasOwn(topic.fixed, name) ? topic.fixed[name] : undefined;
    if (fixed === undefined) found.push(...unread(name, document[name], known, others, said));
    else if (document[name] !== fixed) found.push({ field: name, problem: word("differs") });
  }
  const more = unknown.length - limits.problems_shown;
  return more > 0 ? [...found, { field: "", problem: word("more_unknown", { count: more }) }] : found;
}

function unread(
  name: string,
  value: unknown,
  known: readonly string[],
  others: readonly string[],
  said: readonly string[],
): FieldProblem[] {
  const problem = word("unknown");
  const meant = meantField([...name].slice(0, names.name_chars + 1).join(""), others, said);
  // An object of another name: what stands in it belongs to the payload itself, as far as it is known there.
  const inside = isObject(value) ? Object.keys(value).filter((each) => known.includes(each)) : [];
  if (inside.length > 0 && !(meant !== undefined && names.objects.includes(meant))) {
    return inside.map((each) => ({
      field: [...`${name}.${each}`].slice(-limits.field_chars).join(""),
      problem,
      meant: each,
    }));
  }
  const field = [...name].slice(0, limits.field_chars).join("");
  return [meant === undefined ? { field, problem } : { field, problem, meant }];
}

function distinct(problems: readonly FieldProblem[]): FieldProblem[] {
  return [...new Map(problems.map((each) => [JSON.stringify([each.field, each.problem, each.meant]), each])).values()];
}

function invalid(fields: readonly FieldProblem[], total = fields.length): Read {
  const count = total === 1 ? message("one_field") : message("many_fields", { count: total });
  const shown = total > fields.length ? message("shown", { shown: fields.length }) : "";
  return rejected("invalid_payload", count + shown, fields);
}

function rejected(code: string, text: string, fields: readonly FieldProblem[] = []): Read {
  return { error: { code, message: text, fields }, warnings: [] };
}
