/** What came out of a job, by range. */
import { sha256 } from "../base/sha256.ts";
import type { JobBackend } from "../jobs/backend.ts";
import { outputBlob, type Job } from "../jobs/job.ts";
import { ApiError } from "./errors.ts";

/** Bytes that are read from the store at a time. */
const PIECE = 1 << 20;

export interface Content {
  readonly blob: string;
  readonly type: string;
  readonly size: number;
  /** Digest of the bytes, or what else is another one for other bytes. */
  readonly tag: string;
  /** What a browser calls the file. */
  readonly name: string;
}

/** One range of bytes, to before `end`; undefined where all is sent, and `"none"` where there is nothing in it. Several ranges are all. */
export function rangeOf(header: string | null, size: number): { readonly begin: number; readonly end: number } | "none" | undefined {
  const [, from, to] = /^bytes=(\d{0,15})-(\d{0,15})$/i.exec(header?.trim() ?? "") ?? [];
  if (from === undefined || to === undefined || (from === "" && to === "")) return undefined;
  if (from !== "" && to !== "" && Number(to) < Number(from)) return undefined;
  const begin = from === "" ? Math.max(0, size - Number(to)) : Number(from);
  const end = from === "" || to === "" ? size : Math.min(Number(to) + 1, size);
  return begin >= end ? "none" : { begin, end };
}

/** Does a list of tags hold this one? By weak comparison. */
const holds = (list: string, tag: string): boolean =>
  list.trim() === "*" || list.split(",").some((one) => one.trim().replace(/^W\//, "") === tag);

/** A job's video, thumbnail or spritesheet. Throws where it is not there: yet, any more, or at all. */
export async function videoResponse(
  request: Request,
  job: Job,
  variant: "video" | "thumbnail" | "spritesheet",
  blobs: JobBackend["blobs"],
): Promise<Response> {
  if (job.status === "failed")
    throw new ApiError(
      409,
      "video_failed",
      `a video must be completed, got ${job.id}, which failed: ${job.error?.message ?? "for no reason that is known"}`,
    );
  if (job.status !== "completed" || !job.output)
    throw new ApiError(409, "video_not_ready", `a video must be completed, got ${job.id}, which is ${job.status}; come again`, {
      retryAfter: Math.min(job.secondsLeft ?? 2, 60),
    });
  const whole = variant === "video";
  const blob = whole ? job.output.blob : outputBlob(job.id, variant);
  const size = await blobs.size(blob);
  if (size === undefined)
    throw (await blobs.size(job.output.blob)) === undefined
      ? new ApiError(410, "video_expired", `a video must still be kept, got ${job.id}, which was removed`)
      : new ApiError(404, "no_such_variant", `a variant must be one that was made, got ${variant}; ask for video`, {
          param: "variant",
        });
  const type = whole ? job.output.type : pictureType((await blobs.get(blob, 0, 4)) ?? new Uint8Array());
  const tag = whole ? job.output.digest : await sha256(new TextEncoder().encode(`${variant} ${job.output.digest}`));
  const extension = type.split("/")[1] === "jpeg" ? "jpg" : (type.split("/")[1] ?? "bin");
  return contentResponse(request, { blob, type, size, tag, name: `${job.id}${whole ? "" : `-${variant}`}.${extension}` }, blobs);
}

function pictureType(bytes: Uint8Array): string {
  return bytes[0] === 0x89 ? "image/png" : bytes[0] === 0xff ? "image/jpeg" : "image/webp";
}

/** Answers GET and HEAD. */
export function contentResponse(request: Request, { blob, type, size, tag, name }: Content, blobs: JobBackend["blobs"]): Response {
  const etag = `"${tag}"`;
  const headers = {
    etag,
    "accept-ranges": "bytes",
    // It is the same for ever, but only for whoever has the key.
    "cache-control": "private, no-cache",
    vary: "authorization",
  };
  const unless = request.headers.get("if-none-match");
  if (unless !== null && holds(unless, etag)) return new Response(null, { status: 304, headers });
  // A range is of the version that is asked for.
  const same = (request.headers.get("if-range") ?? etag) === etag;
  const range = same && request.method === "GET" ? rangeOf(request.headers.get("range"), size) : undefined;
  if (range === "none") {
    const refused = new ApiError(
      416,
      "range_not_satisfiable",
      `a range must begin before byte ${size}, got ${request.headers.get("range")}`,
    ).response();
    refused.headers.set("content-range", `bytes */${size}`);
    return refused;
  }
  const { begin, end } = range ?? { begin: 0, end: size };
  return new Response(request.method === "HEAD" ? null : streamOf(blobs, blob, begin, end), {
    status: range ? 206 : 200,
    headers: {
      ...headers,
      "content-type": type,
      "content-length": String(end - begin),
      "content-disposition": `inline; filename="${name}"`,
      ...(range ? { "content-range": `bytes ${begin}-${end - 1}/${size}` } : {}),
    },
  });
}

/** Read when the client takes it: a slow one holds one piece. */
function streamOf(blobs: JobBackend["blobs"], blob: string, begin: number, end: number): ReadableStream<Uint8Array> {
  let at = begin;
  return new ReadableStream(
    {
      async pull(controller) {
        if (at >= end) return controller.close();
        const bytes = await blobs.get(blob, at, Math.min(at + PIECE, end));
        if (!bytes || bytes.length === 0) return controller.error(new Error("the video was removed while it was sent"));
        at += bytes.length;
        controller.enqueue(bytes);
        if (at >= end) controller.close();
      },
    },
    { highWaterMark: 0 },
  );
}
