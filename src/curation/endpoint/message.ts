/** Requests of chat completions as every OpenAI-compatible server takes them, and their answers. */
import { base64 } from "../../base/base64.ts";
import { isObject } from "../../base/json-scan.ts";
import type { JsonSchema } from "./schema.ts";
import type { Usage } from "./spent.ts";

/** A part of what the user says: a text, or a picture with what it is. */
export type ChatPart = { readonly text: string } | { readonly jpeg: Uint8Array };

/** One question. */
export interface ChatRequest {
  /** How the model is to go about it. */
  readonly system?: string;
  /** Exchanges that show how it is done, and those of this conversation so far. */
  readonly before?: readonly { readonly role: "user" | "assistant"; readonly text: string }[];
  readonly parts: readonly ChatPart[];
  /** What the answer is to hold; left out for plain text. */
  readonly schema?: { readonly name: string; readonly schema: JsonSchema };
  /** Tokens of the answer at most. */
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly seed?: number;
}

/** How a server is asked for JSON of a schema: OpenAI's form, llama.cpp's older one, any JSON object, or in words alone. */
export const FORMS = ["json_schema", "json_schema flat", "json_object", "words"] as const;
export type SchemaForm = (typeof FORMS)[number];

/** What one server takes that another refuses. */
export interface Dialect {
  form: SchemaForm;
  /** A request in that form was answered. */
  proven: boolean;
  /** Newer models of OpenAI take this name alone. */
  tokensName: "max_tokens" | "max_completion_tokens";
  /** Parameters that it refuses. */
  readonly without: Set<string>;
}

export const newDialect = (): Dialect => ({ form: "json_schema", proven: false, tokensName: "max_tokens", without: new Set() });

/** The body of a request, as it goes over the wire and into batch files. @param more what the user wants in every body */
export function bodyOf(
  request: ChatRequest,
  model: string,
  dialect: Dialect = newDialect(),
  more: Readonly<Record<string, unknown>> = {},
): Record<string, unknown> {
  const { system, before = [], parts, schema, maxTokens, temperature, seed } = request;
  const inWords = schema && dialect.form !== "json_schema" && dialect.form !== "json_schema flat";
  const rule = inWords ? wordsOfSchema(schema.schema) : undefined;
  const instructions = [system, rule].filter((one) => one !== undefined).join("\n\n");
  const plain = parts.every((part) => "text" in part);
  const told: Record<string, unknown> = {
    temperature,
    seed,
    [dialect.tokensName]: maxTokens,
    response_format: schema && formatOf(schema, dialect.form),
    ...more,
  };
  return {
    model,
    messages: [
      ...(instructions ? [{ role: "system", content: instructions }] : []),
      ...before.map(({ role, text }) => ({ role, content: text })),
      // Text alone as a string: servers of models without eyes take no list.
      { role: "user", content: plain ? parts.map((part) => ("text" in part ? part.text : "")).join("\n") : parts.map(contentOf) },
    ],
    ...Object.fromEntries(Object.entries(told).filter(([name, value]) => value !== undefined && !dialect.without.has(name))),
  };
}

/** A schema as a model is told it that nothing holds to it. */
export const wordsOfSchema = (schema: JsonSchema): string =>
  `Answer with one JSON object and nothing else, by this schema: ${JSON.stringify(schema)}`;

const contentOf = (part: ChatPart): object =>
  "text" in part
    ? { type: "text", text: part.text }
    : { type: "image_url", image_url: { url: `data:image/jpeg;base64,${base64(part.jpeg)}` } };

function formatOf({ name, schema }: NonNullable<ChatRequest["schema"]>, form: SchemaForm): object | undefined {
  if (form === "json_schema") return { type: "json_schema", json_schema: { name, strict: true, schema } };
  if (form === "json_schema flat") return { type: "json_schema", schema };
  return form === "json_object" ? { type: "json_object" } : undefined;
}

/** What an answer holds. */
export interface Reply {
  readonly text: string;
  /** The model as the server names it. */
  readonly model: string | undefined;
  /** Why it ended: `stop`, `length`, `content_filter` … */
  readonly finish: string | undefined;
  readonly usage: Usage | undefined;
}

/** Reads the body of an answer. @returns in words what is wrong with it, where it is none */
export function readReply(body: unknown): Reply | string {
  if (!isObject(body)) return "an answer that is no JSON object";
  const [choice] = Array.isArray(body["choices"]) ? (body["choices"] as unknown[]) : [];
  const message = isObject(choice) ? choice["message"] : undefined;
  if (!isObject(choice) || !isObject(message)) return "an answer without a message";
  const text = textOf(message["content"]);
  if (text === undefined) {
    const refusal = message["refusal"];
    return typeof refusal === "string" ? `a refusal: ${refusal.slice(0, 200)}` : "a message without a text";
  }
  return {
    text: withoutReasoning(text),
    model: typeof body["model"] === "string" ? body["model"] : undefined,
    finish: typeof choice["finish_reason"] === "string" ? choice["finish_reason"] : undefined,
    usage: usageOf(body["usage"]),
  };
}

/** Content is a text, or with some servers a list of parts. */
function textOf(content: unknown): string | undefined {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return undefined;
  const texts = content.flatMap((part: unknown) => (isObject(part) && typeof part["text"] === "string" ? [part["text"]] : []));
  return texts.length ? texts.join("") : undefined;
}

function usageOf(usage: unknown): Usage | undefined {
  if (!isObject(usage)) return undefined;
  const [input, output] = [Number(usage["prompt_tokens"] ?? NaN), Number(usage["completion_tokens"] ?? 0)];
  return Number.isFinite(input) && Number.isFinite(output) && input >= 0 && output >= 0 ? { input, output } : undefined;
}

/** What models that think aloud say before they answer is no part of it. An unfinished thought leaves nothing. */
export const withoutReasoning = (text: string): string =>
  text
    .replace(/^[\s\S]*<\/think(?:ing)?>/i, "")
    .replace(/<think(?:ing)?>[\s\S]*$/i, "")
    .trim();
