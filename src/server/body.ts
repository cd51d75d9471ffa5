/** A request's body as fields: JSON, or a form with files. */
import { joined } from "../base/joined.ts";
import { ApiError, invalid } from "./errors.ts";

/** Of keys of a form: `video[id]` is the field `id` of `video`, as OpenAI's clients write it. */
const NESTED = /^(\w{1,50})\[(\w{1,50})\]$/;
/** Fields of a body; there are twenty. */
const MOST_FIELDS = 100;

/**
 * Reads what `collect` gives of a body. Files are bytes; what a client calls them is not looked at.
 * @param bytes of the body, which is within the limit @param type its content type
 */
export async function fieldsOf(bytes: Uint8Array<ArrayBuffer>, type: string): Promise<Record<string, unknown>> {
  const [kind = ""] = type.toLowerCase().split(";");
  if (kind.trim() === "application/json" || (bytes.length === 0 && kind === "")) return jsonFields(bytes);
  if (kind.trim() === "multipart/form-data" || kind.trim() === "application/x-www-form-urlencoded") return await formFields(bytes, type);
  throw new ApiError(
    415,
    "unsupported_media_type",
    `a body must be application/json or multipart/form-data, got ${JSON.stringify(kind.slice(0, 80))}; set content-type`,
  );
}

function jsonFields(bytes: Uint8Array<ArrayBuffer>): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw invalid(`a body must be JSON, got ${(error as Error).message.slice(0, 200)}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw invalid(`a body must be a JSON object, got ${Array.isArray(value) ? "a list" : typeof value}`);
  // A field that is null is one that was left out.
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== null));
}

async function formFields(bytes: Uint8Array<ArrayBuffer>, type: string): Promise<Record<string, unknown>> {
  const form = await new Response(bytes, { headers: { "content-type": type } }).formData().catch((error: unknown) => {
    throw invalid(`a form must be whole and have the boundary that its content-type names, got ${(error as Error).message.slice(0, 200)}`);
  });
  const fields = new Map<string, unknown>();
  for (const [key, value] of form.entries()) {
    if (fields.size >= MOST_FIELDS) throw invalid(`a form may have ${MOST_FIELDS} fields, got more`);
    const given = typeof value === "string" ? value : new Uint8Array(await value.arrayBuffer());
    const [, outer, inner] = NESTED.exec(key) ?? [];
    const name = outer ?? key;
    const before = fields.get(name);
    if (before !== undefined && !inner) throw invalid(`a field may be given once, got ${JSON.stringify(name.slice(0, 80))} twice`, name);
    fields.set(name, inner ? { ...(before instanceof Uint8Array || typeof before !== "object" ? {} : before), [inner]: given } : given);
  }
  return Object.fromEntries(fields);
}

/** The bytes of a `data:` address. Others are not fetched: whoever asks would choose what this machine asks of whom. */
export function bytesOfDataUrl(url: string, param: string): Uint8Array<ArrayBuffer> {
  const [, base64, data] = /^data:[^,]{0,200}?(;base64)?,(.*)$/s.exec(url) ?? [];
  if (data === undefined)
    throw invalid(`an address of an input must be a data: address, got ${JSON.stringify(url.slice(0, 40))}; send the file itself`, param);
  try {
    return new Uint8Array(
      base64 ? Uint8Array.from(atob(data), (c) => c.charCodeAt(0)) : new TextEncoder().encode(decodeURIComponent(data)),
    );
  } catch {
    throw invalid("a data: address must hold base64, got something else; upload the file", param);
  }
}

/** The whole body, of at most `limit` bytes; what is longer is refused as soon as it is, whatever its head said. */
export async function collect(request: Request, limit: number): Promise<Uint8Array<ArrayBuffer>> {
  const refuse = (got: string): never => {
    throw new ApiError(
      413,
      "request_too_large",
      `a body may have ${limit} bytes here, got ${got}; send a smaller file (--max-upload sets the limit)`,
    );
  };
  const told = Number(request.headers.get("content-length") ?? 0);
  if (told > limit) refuse(String(told));
  const parts: Uint8Array[] = [];
  let bytes = 0;
  if (request.body)
    for await (const part of request.body) {
      bytes += part.length;
      if (bytes > limit) refuse("more");
      parts.push(part);
    }
  return joined(parts);
}
