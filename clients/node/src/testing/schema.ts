/** Holds a value against a schema of the rules, and names every problem in the order in which the router names them. */

import { type FieldProblem, isObject } from "../receipt.js";
import { epochS, fits, lengthS, problemWith } from "./checks.js";
import { meantField } from "./names.js";
import { type Relation, resolved, type Schema, word } from "./rules.js";

type Path = readonly (string | number)[];

/** A problem before its path is written as one text. */
export interface Found {
  readonly path: Path;
  readonly problem: string;
  readonly meant?: string | undefined;
}

/** Return the problems of a value, none where it is as its schema wants it. */
export function problemsOf(value: unknown, schema: Schema, path: Path = []): Found[] {
  const { anyOf, oneOf, ...rest } = resolved(schema);
  if (rest.not !== undefined) return [{ path, problem: rest["x-problem"] ?? "" }];
  if (rest["x-nulls"] === "absent" && isObject(value)) value = withoutNulls(value);
  if (anyOf !== undefined) {
    const isNullable = anyOf.some((each) => each.type === "null");
    if (value === null && isNullable) return [];
    const [member] = anyOf.filter((each) => each.type !== "null");
    return member === undefined ? [] : problemsOf(value, member, path);
  }
  if (oneOf !== undefined) return problemsOfChoice(value, { ...rest, oneOf }, path);
  const own = problemOfType(value, rest) ?? problemOfLimits(value, rest);
  if (own !== undefined) return [{ path, problem: own }];
  const inside = problemsInside(value, rest, path);
  if (inside.length > 0) return inside;
  const after = problemOfSize(value, rest) ?? problemWith(value, rest["x-checks"] ?? []);
  return after === undefined ? [] : [{ path, problem: after }];
}

/** Leave out the fields that are null: they count as not said. */
export function withoutNulls(document: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(document).filter(([, value]) => value !== null));
}

/** Name the fields of the schemas that a path leads to; a union's members are all of them. */
export function fieldsAt(schema: Schema, path: Path): string[] {
  let schemas = objectsIn(schema);
  // Below a name that the writer made up, perhaps that of a field.
  let named: Schema[] = [];
  for (const part of path) {
    if (typeof part === "number") continue;
    if (named.length > 0) {
      [schemas, named] = [named, []];
      continue;
    }
    const properties = schemas.flatMap((each) => each.properties?.[part] ?? []);
    const below = properties.flatMap(objectsIn);
    if (below.length > 0) schemas = below;
    named = properties.flatMap(({ additionalProperties }) =>
      isObject(additionalProperties) ? objectsIn(additionalProperties) : [],
    );
  }
  return schemas.flatMap((each) => Object.keys(each.properties ?? {}));
}

function objectsIn(schema: Schema): Schema[] {
  const { anyOf, oneOf, items, ...own } = resolved(schema);
  if (own.properties !== undefined) return [own];
  return [...(anyOf ?? []), ...(oneOf ?? []), ...(items === undefined ? [] : [items])].flatMap(objectsIn);
}

const TYPES: { readonly [type: string]: (value: unknown) => boolean } = {
  string: (value) => typeof value === "string",
  boolean: (value) => typeof value === "boolean",
  number: (value) => typeof value === "number",
  // What is larger may have been written with an exponent: the router takes that for a number and not for a whole one.
  integer: (value) => Number.isSafeInteger(value),
  array: Array.isArray,
  object: isObject,
};

function problemOfType(value: unknown, schema: Schema): string | undefined {
  const types = typeof schema.type === "string" ? [schema.type] : (schema.type ?? []);
  if (schema.enum !== undefined) {
    return schema.enum.includes(value) ? undefined : word("enum", { limit: schema.enum.join(", ") });
  }
  if (types.length === 0 || types.some((each) => TYPES[each]?.(value))) return undefined;
  return schema["x-problem"] ?? word(types[0] as string);
}

function problemOfLimits(value: unknown, schema: Schema): string | undefined {
  if (typeof value === "string") {
    const length = [...value].length;
    const { minLength = 0, maxLength = Infinity } = schema;
    if (length > maxLength) return word("maxLength", { limit: maxLength });
    if (length < minLength) return word("minLength", { limit: minLength });
  }
  if (typeof value === "number") {
    const { exclusiveMinimum, minimum, maximum } = schema;
    if (maximum !== undefined && value > maximum) return word("maximum", { limit: maximum });
    if (minimum !== undefined && value < minimum) return word("minimum", { limit: minimum });
    if (exclusiveMinimum !== undefined && value <= exclusiveMinimum) {
      return word("exclusiveMinimum", { limit: exclusiveMinimum });
    }
  }
  return undefined;
}

function problemOfSize(value: unknown, schema: Schema): string | undefined {
  if (Array.isArray(value) && value.length < (schema.minItems ?? 0))
    return word("minItems", { limit: schema.minItems });
  if (isObject(value) && Object.keys(value).length > (schema.maxProperties ?? Infinity)) {
    return word("maxProperties", { limit: schema.maxProperties });
  }
  return undefined;
}

function problemsInside(value: unknown, schema: Schema, path: Path): Found[] {
  if (Array.isArray(value)) return problemsOfItems(value, schema, path);
  if (!isObject(value)) return [];
  if (schema.properties !== undefined) return problemsOfFields(value, schema, path);
  const { propertyNames, additionalProperties } = schema;
  return Object.entries(value).flatMap(([name, each]) => [
    // The name itself is wrong, and must not be repeated.
    ...(propertyNames === undefined ? [] : problemsOf(name, propertyNames, path)),
    ...(isObject(additionalProperties) ? problemsOf(each, additionalProperties, [...path, name]) : []),
  ]);
}

function problemsOfItems(values: readonly unknown[], { items = {}, maxItems = Infinity }: Schema, path: Path): Found[] {
  const found: Found[] = [];
  let good = 0;
  for (const [index, each] of values.entries()) {
    const problems = problemsOf(each, items, [...path, index]);
    if (problems.length === 0) good += 1;
    // Only good ones are counted, and then nothing else is said.
    if (good > maxItems) return [{ path, problem: word("maxItems", { limit: maxItems }) }];
    found.push(...problems);
  }
  return found;
}

function problemsOfFields(document: Record<string, unknown>, schema: Schema, path: Path): Found[] {
  const { properties = {}, required = [], additionalProperties } = schema;
  const found: Found[] = [];
  // Of the fields so far, those that are as they should be: only with them a later one is compared.
  const good = new Map<string, unknown>();
  for (const [name, field] of Object.entries(properties)) {
    const at = [...path, name];
    const isSaid = Object.hasOwn(document, name);
    const value = isSaid ? document[name] : (resolved(field).default ?? null);
    let problems: Found[] = [];
    if (isSaid) problems = problemsOf(value, field, at);
    else if (required.includes(name)) problems = [{ path: at, problem: word("required") }];
    if (problems.length === 0) {
      const asked = (field["x-relations"] ?? []).find((each) => !holds(each, value, good));
      if (asked !== undefined) problems = [{ path: at, problem: brokenProblem(asked, good) }];
    }
    if (problems.length === 0) good.set(name, value);
    found.push(...problems);
  }
  if (additionalProperties === false) {
    for (const name of Object.keys(document)) {
      if (!Object.hasOwn(properties, name)) found.push({ path: [...path, name], problem: word("unknown") });
    }
  }
  return found;
}

/** Tell whether a field is what another one asks of it. What the other one is wrong in asks nothing. */
function holds(relation: Relation, value: unknown, good: ReadonlyMap<string, unknown>): boolean {
  if (relation.relation === "most_with") {
    const many = (value as readonly object[]).filter(
      (each) => ((each as never)[relation["with"] as string] ?? null) !== null,
    );
    return many.length <= Number(relation["most"]);
  }
  if (!good.has(relation.field)) return true;
  const other = good.get(relation.field) ?? null;
  if (relation.none?.includes(value)) value = null;
  if (relation.relation === "required_unless") {
    const isThere = relation.values === undefined ? other !== null : relation.values.includes(other);
    return value !== null || isThere;
  }
  if (value === null) return true;
  switch (relation.relation) {
    case "after":
      return other === null || epochS(value) > epochS(other);
    case "not_shorter":
      return other === null || Number(lengthS(value, relation)) >= Number(lengthS(other, relation));
    case "not_with":
      return other === null;
    case "only_if":
      return relation.values?.includes(other) ?? false;
    case "matches_if":
      return !relation.values?.includes(other) || fits(String(value), String(relation["pattern"]));
    case "items_by": {
      const wanted = itemsBy(relation, other)?.type;
      return wanted === undefined || (value as readonly unknown[]).every((each) => TYPES[wanted]?.(each));
    }
    default:
      return true;
  }
}

function brokenProblem(relation: Relation, good: ReadonlyMap<string, unknown>): string {
  if (relation.relation === "items_by") return itemsBy(relation, good.get(relation.field))?.problem ?? "";
  return relation.problem;
}

function itemsBy(relation: Relation, other: unknown): { type: string; problem: string } | undefined {
  return (relation["items"] as { [value: string]: { type: string; problem: string } })[String(other)];
}

function problemsOfChoice(value: unknown, schema: Schema, path: Path): Found[] {
  const { oneOf = [], "x-choice": choice } = schema;
  if (choice?.by === "presence") {
    const isThere = isObject(value) && (value[choice.field ?? ""] ?? null) !== null;
    return problemsOf(value, oneOf[isThere ? 1 : 0] ?? {}, path);
  }
  if (choice?.by === "value") {
    if (!isObject(value)) return [{ path, problem: word("object") }];
    const field = choice.field ?? "";
    const at = [...path, field];
    const places = choice.values ?? {};
    const said = value[field];
    if (said === undefined) return [{ path: at, problem: word("required") }];
    const place = typeof said === "string" && Object.hasOwn(places, said) ? places[said] : undefined;
    if (place === undefined) return [{ path: at, problem: word("enum", { limit: Object.keys(places).join(", ") }) }];
    return problemsOf(value, oneOf[place] ?? {}, path);
  }
  const member = oneOf.find((each) => TYPES[String(resolved(each).type)]?.(value));
  return member === undefined ? [{ path, problem: choice?.problem ?? "" }] : problemsOf(value, member, path);
}

/** Write problems as a receipt has them. */
export function written(found: readonly Found[], schema: Schema, fieldChars: number): FieldProblem[] {
  return found.map(({ path, problem }) => {
    const field = [...path.join(".")].slice(0, fieldChars).join("");
    const meant =
      problem === word("unknown") ? meantField(String(path.at(-1)), fieldsAt(schema, path.slice(0, -1))) : undefined;
    return meant === undefined ? { field, problem } : { field, problem, meant };
  });
}
