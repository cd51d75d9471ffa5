/** The few words of JSON Schema that requests use, and what an answer is checked against: no server's word is taken for it. */
import { isObject } from "../../base/json-scan.ts";

/** A schema. Every property of an object is required and others are refused, as OpenAI's strict mode has it. */
export type JsonSchema =
  | { readonly type: "string"; readonly enum?: readonly string[]; readonly description?: string }
  | { readonly type: "number" | "integer"; readonly minimum?: number; readonly maximum?: number; readonly description?: string }
  | { readonly type: "boolean"; readonly description?: string }
  | { readonly type: "array"; readonly items: JsonSchema; readonly description?: string }
  | {
      readonly type: "object";
      readonly properties: Readonly<Record<string, JsonSchema>>;
      readonly required: readonly string[];
      readonly additionalProperties: false;
    };

/** An object with these properties. */
export const objectOf = (properties: Readonly<Record<string, JsonSchema>>): JsonSchema => ({
  type: "object",
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
});

/** What is wrong with a value, in words; undefined where it is of the schema. */
export function mismatch(value: unknown, schema: JsonSchema, at = "the answer"): string | undefined {
  switch (schema.type) {
    case "string":
      if (typeof value !== "string") return `${at} must be a text`;
      return schema.enum && !schema.enum.includes(value) ? `${at} must be one of ${schema.enum.join(", ")}` : undefined;
    case "boolean":
      return typeof value === "boolean" ? undefined : `${at} must be true or false`;
    case "array": {
      if (!Array.isArray(value)) return `${at} must be a list`;
      for (const [i, one] of value.entries()) {
        const wrong = mismatch(one, schema.items, `${at}[${i}]`);
        if (wrong) return wrong;
      }
      return undefined;
    }
    case "object": {
      if (!isObject(value)) return `${at} must be an object`;
      for (const name of schema.required) if (!Object.hasOwn(value, name)) return `${at} must have ${name}`;
      for (const [name, one] of Object.entries(value)) {
        const known = Object.hasOwn(schema.properties, name) ? schema.properties[name] : undefined;
        if (!known) return `${at} must not have ${name.slice(0, 40)}`;
        const wrong = mismatch(one, known, name);
        if (wrong) return wrong;
      }
      return undefined;
    }
    default: {
      const { minimum = -Infinity, maximum = Infinity } = schema;
      if (typeof value !== "number" || !Number.isFinite(value) || (schema.type === "integer" && !Number.isInteger(value)))
        return `${at} must be a${schema.type === "integer" ? " whole" : ""} number`;
      return value < minimum || value > maximum ? `${at} must be from ${minimum} to ${maximum}` : undefined;
    }
  }
}

/** Braces that are tried as the beginning of an object: a text of nothing else is not looked through for each. */
const MOST_TRIES = 16;

/** The first JSON object of a text, which may stand in a fence of Markdown or between words; undefined where there is none. */
export function jsonIn(text: string): unknown {
  let tries = 0;
  for (let start = text.indexOf("{"); start >= 0 && tries < MOST_TRIES; start = text.indexOf("{", start + 1)) {
    tries++;
    const end = endOf(text, start);
    if (end === undefined) continue;
    try {
      return JSON.parse(text.slice(start, end));
    } catch {
      // another brace may begin one
    }
  }
  return undefined;
}

/** Where the object that begins at `start` ends. */
function endOf(text: string, start: number): number | undefined {
  let depth = 0;
  for (let i = start; i < text.length; i++) {
    const c = text[i];
    if (c === '"') for (i++; i < text.length && text[i] !== '"'; i++) if (text[i] === "\\") i++;
    if (c === "{") depth++;
    if (c === "}" && --depth === 0) return i + 1;
  }
  return undefined;
}
