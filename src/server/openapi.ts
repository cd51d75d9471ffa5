/** `/openapi.json`, of the definitions that requests are checked by. */
import { z } from "zod";
import { errorShape } from "./fields.ts";
import { problemShape } from "./prediction.ts";

/** A call, as it is routed and as it is described. */
export interface Call {
  readonly method: "get" | "post" | "delete";
  /** With `:id` for a part that is a video's id. */
  readonly path: string;
  readonly summary: string;
  readonly query?: z.ZodObject;
  readonly body?: z.ZodObject;
  /** May the body be a form with files? */
  readonly form?: boolean;
  readonly headers?: Readonly<Record<string, string>>;
  /** JSON of this shape, or another media type. */
  readonly gives?: z.ZodType | string;
  /** What else it answers, by status. */
  readonly refuses?: Readonly<Record<number, string>>;
  /** Asks for no key, also where the server has some. */
  readonly open?: boolean;
  /** The status of success. Default 200. */
  readonly status?: number;
  /** Are refusals told in the shape that Replicate's clients read? */
  readonly problems?: boolean;
}

const DESCRIPTION = "Videos by OpenAI's /v1/videos, with the extension fields of vLLM-Omni, and by Replicate's /v1/predictions.";

type Json = Record<string, unknown>;

/** The shape's schema; named shapes go to the components, once, and are referred to. */
function schemaOf(shape: z.ZodType, io: "input" | "output", components: Json): Json {
  const made = JSON.stringify(z.toJSONSchema(shape, { io, unrepresentable: "any" })).replaceAll('"#/$defs/', '"#/components/schemas/');
  const { $schema: _, $defs = {}, ...schema } = JSON.parse(made) as Json & { $defs?: Json };
  Object.assign(components, $defs);
  return schema;
}

export function openApi(calls: readonly Call[], version: string): Json {
  const schemas: Json = {};
  const paths: Record<string, Json> = {};
  const refused = { "application/json": { schema: schemaOf(errorShape, "output", schemas) } };
  const problem = { "application/problem+json": { schema: schemaOf(problemShape, "output", schemas) } };
  for (const call of calls) {
    const failure = call.problems ? problem : refused;
    const path = call.path.replace(/:(\w+)/g, "{$1}");
    const query = call.query ? ((schemaOf(call.query, "input", schemas)["properties"] ?? {}) as Json) : {};
    const content = call.body && { schema: schemaOf(call.body, "input", schemas) };
    const success =
      call.gives === undefined
        ? {}
        : typeof call.gives === "string"
          ? { content: { [call.gives]: {} } }
          : { content: { "application/json": { schema: schemaOf(call.gives, "output", schemas) } } };
    paths[path] ??= {};
    paths[path][call.method] = {
      summary: call.summary,
      ...(call.open ? { security: [] } : {}),
      parameters: [
        ...[...call.path.matchAll(/:(\w+)/g)].map(([, name]) => ({ name, in: "path", required: true, schema: { type: "string" } })),
        ...Object.entries(query).map(([name, schema]) => ({ name, in: "query", schema })),
        ...Object.entries(call.headers ?? {}).map(([name, description]) => ({
          name,
          in: "header",
          description,
          schema: { type: "string" },
        })),
      ],
      ...(content
        ? {
            requestBody: {
              required: true,
              content: { "application/json": content, ...(call.form ? { "multipart/form-data": content } : {}) },
            },
          }
        : {}),
      responses: {
        [call.status ?? 200]: { description: "done", ...success },
        ...Object.fromEntries(
          Object.entries(call.refuses ?? {}).map(([status, description]) => [status, { description, content: failure }]),
        ),
        default: { description: "refused, with the rule, the value and the remedy", content: failure },
      },
    };
  }
  return {
    openapi: "3.1.0",
    info: { title: "Cogwheel", version, description: DESCRIPTION },
    paths,
    security: [{ key: [] }, {}],
    components: { schemas, securitySchemes: { key: { type: "http", scheme: "bearer" } } },
  };
}
