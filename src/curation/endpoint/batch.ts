/**
 * Batch files, as OpenAI's batch API and `vllm run-batch` take them: a line of JSON a request, answered within a day at half the price.
 * A file has at most 50,000 requests and 200 MB; with pictures in the requests it is the bytes that are full first.
 */
import { isObject } from "../../base/json-scan.ts";
import { EndpointError } from "./faults.ts";
import { readReply, type Reply } from "./message.ts";

/** What one file may hold. */
export const BATCH_LIMITS = { requests: 50_000, bytes: 200_000_000 };

/** A request of a batch; `id` is how its answer is found again. */
export interface BatchRequest {
  readonly id: string;
  /** As {@link Endpoint.body} makes it. */
  readonly body: object;
}

/** A request as a line of a file, with its line end. */
export const batchLine = ({ id, body }: BatchRequest): Uint8Array =>
  new TextEncoder().encode(`${JSON.stringify({ custom_id: id, method: "POST", url: "/v1/chat/completions", body })}\n`);

/** A file's lines, each with its line end. Shards are made one at a time: only one is in memory. */
export async function* batchShards(
  requests: Iterable<BatchRequest> | AsyncIterable<BatchRequest>,
  limits: { requests: number; bytes: number } = BATCH_LIMITS,
): AsyncGenerator<{ readonly lines: Uint8Array[]; readonly bytes: number; readonly ids: string[] }, void, void> {
  const ids = new Set<string>();
  let shard = { lines: [] as Uint8Array[], bytes: 0, ids: [] as string[] };
  for await (const { id, body } of requests) {
    if (ids.has(id)) throw new EndpointError("request", `a batch must have an id once, got ${id} twice; give each request its own`);
    ids.add(id);
    const line = batchLine({ id, body });
    if (line.length > limits.bytes)
      throw new EndpointError(
        "request",
        `a request must fit a batch file of ${limits.bytes} bytes, got ${line.length} of ${id}; take fewer or smaller pictures`,
      );
    if (shard.lines.length === limits.requests || shard.bytes + line.length > limits.bytes) {
      yield shard;
      shard = { lines: [], bytes: 0, ids: [] };
    }
    shard.lines.push(line);
    shard.bytes += line.length;
    shard.ids.push(id);
  }
  if (shard.lines.length) yield shard;
}

/** An answer out of a batch's file of results, or why there is none. */
export type BatchAnswer = { readonly id: string } & ({ readonly reply: Reply } | { readonly error: string });

/**
 * Reads a file of results (or of errors: they have the same lines), in whatever order. A line that is none is told with its number and
 * does not keep the others.
 */
export function readBatchAnswers(text: string): { answers: BatchAnswer[]; broken: number[] } {
  const answers: BatchAnswer[] = [];
  const broken: number[] = [];
  for (const [i, line] of text
    .replace(/^\uFEFF/, "")
    .split("\n")
    .entries()) {
    if (line.trim() === "") continue;
    const found = answerOf(line);
    if (found) answers.push(found);
    else broken.push(i + 1);
  }
  return { answers, broken };
}

function answerOf(line: string): BatchAnswer | undefined {
  let row: unknown;
  try {
    row = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (!isObject(row) || typeof row["custom_id"] !== "string") return undefined;
  const id = row["custom_id"];
  const { error, response } = row;
  if (isObject(error)) return { id, error: String(error["message"] ?? error["code"] ?? "an error").slice(0, 300) };
  if (!isObject(response)) return { id, error: "no response" };
  const { status_code: status, body } = response;
  if (status !== undefined && status !== 200) return { id, error: `status ${String(status)}` };
  const reply = readReply(body);
  return typeof reply === "string" ? { id, error: reply } : { id, reply };
}
