/**
 * What becomes of a job, as server-sent events. An event's id is the revision of the job in the store, and each tells the whole state: who
 * comes back with `Last-Event-ID` is told what is there now, unless that is what it has. A slow client misses states in between.
 */
import { base64 } from "../base/base64.ts";
import { sha256 } from "../base/sha256.ts";
import type { JobBackend } from "../jobs/backend.ts";
import { outputBlob } from "../jobs/job.ts";
import { isOver } from "../jobs/store.ts";
import type { JobBoard, Posted } from "./board.ts";
import type { VideoAnswer } from "./fields.ts";

/** A comment is sent so often where nothing else is: proxies and clients know then that the line stands. */
const BEAT_MS = 15_000;
/** Between two looks at a preview. */
const PREVIEW_MS = 250;

/** One event; a text stands there as it is, anything else as JSON. @param id the job's revision */
export function event(name: string, data: unknown, id?: number): string {
  const lines = (typeof data === "string" ? data : JSON.stringify(data)).replace(/\n$/, "").split("\n");
  return `event: ${name}\n${id === undefined ? "" : `id: ${id}\n`}${lines.map((line) => `data: ${line}\n`).join("")}\n`;
}

/** The media type of a picture, by its first bytes. */
function typeOf(bytes: Uint8Array): string {
  if (bytes[0] === 0x89) return "image/png";
  if (bytes[0] === 0xff) return "image/jpeg";
  return bytes[0] === 0x47 ? "image/gif" : "image/webp";
}

export interface StreamOptions {
  readonly board: JobBoard;
  /** What there is to say of the job as it is now, undefined where it was deleted; nothing where that is so. Of one that is over: the end. */
  readonly next: (now: Posted | undefined) => Promise<string | undefined>;
  /** Ends the stream: the server goes. */
  readonly signal: AbortSignal;
  /** Called once, when the stream is over. */
  readonly onEnd: () => void;
}

export interface EventOptions extends Omit<StreamOptions, "next"> {
  readonly blobs: JobBackend["blobs"];
  readonly shown: (posted: Posted) => VideoAnswer;
}

/** The states of a job, and its previews. @param last the id of the last event that the client has */
export function eventResponse(id: string, last: string | null, { blobs, shown, ...options }: EventOptions): Response {
  let told = Number(last ?? Number.NaN);
  let preview = "";
  let previewed = 0;
  const next = async (now: Posted | undefined): Promise<string | undefined> => {
    if (!now) return event("deleted", { id });
    const { job, revision } = now;
    if (revision !== told) {
      told = revision;
      return event(isOver(job) ? job.status : "progress", shown(now), revision);
    }
    if (job.status !== "in_progress" || Date.now() - previewed < PREVIEW_MS) return undefined;
    previewed = Date.now();
    const bytes = await blobs.get(outputBlob(id, "preview"));
    if (!bytes?.length) return undefined;
    const digest = await sha256(new Uint8Array(bytes));
    if (digest === preview) return undefined;
    preview = digest;
    return event("preview", { type: typeOf(bytes), data: base64(bytes) });
  };
  return streamResponse(id, last, { ...options, next });
}

/** The stream for a job that is there, until it is over. @param last the id of the last event that the client has */
export function streamResponse(id: string, last: string | null, { board, next, signal, onEnd }: StreamOptions): Response {
  const first = board.get(id);
  // No content: a browser's EventSource does not come back then.
  if (!first || (isOver(first.job) && last === String(first.revision))) {
    onEnd();
    return new Response(null, { status: 204 });
  }
  let wake: () => void = () => undefined;
  const encoder = new TextEncoder();
  let closed = false;
  const listening = board.listen(id, () => wake());
  const end = (): void => {
    if (closed) return;
    closed = true;
    listening[Symbol.dispose]();
    signal.removeEventListener("abort", stop);
    onEnd();
    wake();
  };
  const stop = (): void => wake();
  signal.addEventListener("abort", stop, { once: true });
  const changed = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  let begun = false;
  const stream = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        if (!begun) {
          begun = true;
          controller.enqueue(encoder.encode("retry: 2000\n\n"));
          return;
        }
        const beat = Date.now() + BEAT_MS;
        for (;;) {
          if (closed) return;
          if (signal.aborted) break;
          const waiting = changed(board.get(id)?.job.status === "in_progress" ? PREVIEW_MS : Math.max(1, beat - Date.now()));
          const before = board.get(id);
          const text = await next(before);
          if (text !== undefined) {
            wake();
            controller.enqueue(encoder.encode(text));
            if (before && !isOver(before.job)) return;
            break;
          }
          if (Date.now() >= beat) {
            controller.enqueue(encoder.encode(":\n\n"));
            return;
          }
          await waiting;
        }
        end();
        controller.close();
      },
      cancel: end,
    },
    { highWaterMark: 0 },
  );
  return new Response(stream, {
    headers: { "content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no" },
  });
}
