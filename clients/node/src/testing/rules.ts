/** The router's rules as data (`rules.json`; `clients/README.md` in Carillon's repository explains its format). */

import { readFileSync } from "node:fs";

/** One step of a check, or what a field asks of the fields before it; each kind has fields of its own. */
export interface Check {
  readonly check: string;
  readonly problem: string;
  readonly [more: string]: unknown;
}

export interface Relation {
  readonly relation: string;
  readonly problem: string;
  readonly field: string;
  readonly values?: readonly unknown[];
  readonly none?: readonly unknown[];
  readonly [more: string]: unknown;
}

/** How the members of a `oneOf` are told apart. */
export interface Choice {
  readonly by: "type" | "presence" | "value";
  readonly field?: string;
  readonly values?: { readonly [value: string]: number };
  readonly problem?: string;
}

/** JSON Schema with keywords of Carillon's own. */
export interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly properties?: { readonly [name: string]: Schema };
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | Schema;
  readonly propertyNames?: Schema;
  readonly maxProperties?: number;
  readonly items?: Schema;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly exclusiveMinimum?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly not?: object;
  readonly default?: unknown;
  readonly "x-checks"?: readonly string[];
  readonly "x-choice"?: Choice;
  readonly "x-nulls"?: "absent";
  readonly "x-parameter"?: boolean;
  readonly "x-problem"?: string;
  readonly "x-relations"?: readonly Relation[];
}

export interface Topic {
  readonly kind: string;
  readonly topic: string;
  readonly parameters: readonly string[];
  readonly schema: string;
  readonly max_bytes: number;
  readonly empty: "refused" | "object" | "delete";
  readonly unknown_fields: "warn" | "refuse";
  readonly nulls: "absent" | "clear";
  readonly same_name: boolean;
  /** Nobody reads the payload. */
  readonly any_payload?: boolean;
  readonly notification?: boolean;
  readonly templated?: string | null;
  /** What the properties of a publish may say in place of the payload. */
  readonly properties?: readonly string[];
  /** What the topic decides, whatever the payload says. */
  readonly fixed?: { readonly [name: string]: string };
}

export interface Rules {
  readonly version: number;
  readonly limits: {
    readonly problems_shown: number;
    readonly field_chars: number;
    readonly json_levels: number;
    readonly mail_bytes: number;
  };
  readonly words: { readonly [name: string]: string };
  readonly messages: { readonly [name: string]: string };
  readonly names: {
    readonly close: number;
    readonly name_chars: number;
    readonly other_words: { readonly [name: string]: readonly string[] };
    readonly objects: readonly string[];
    readonly topic_close: number;
    readonly level_close: number;
    readonly topic_chars: number;
  };
  readonly topics: readonly Topic[];
  readonly checks: { readonly [name: string]: readonly Check[] };
  readonly schemas: { readonly [name: string]: Schema };
}

/** The rules of the Carillon that this package belongs to. */
export const RULES = JSON.parse(readFileSync(new URL("../rules.json", import.meta.url), "utf8")) as Rules;

/** Return the schema that another one refers to, with what stands beside the reference. */
export function resolved(schema: Schema): Schema {
  if (schema.$ref === undefined) return schema;
  const { $ref, ...beside } = schema;
  return { ...RULES.schemas[$ref.slice($ref.lastIndexOf("/") + 1)], ...beside };
}

/** Return one of the rules' words with its gaps filled. */
export function word(name: string, gaps: { readonly [gap: string]: unknown } = {}): string {
  return filled(RULES.words[name] ?? name, gaps);
}

/** Return one of the rules' messages with its gaps filled. */
export function message(name: string, gaps: { readonly [gap: string]: unknown } = {}): string {
  return filled(RULES.messages[name] ?? name, gaps);
}

function filled(text: string, gaps: { readonly [gap: string]: unknown }): string {
  return text.replace(/\{(\w+)\}/g, (_whole, gap: string) => String(gaps[gap]));
}
