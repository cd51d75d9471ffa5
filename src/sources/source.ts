/**
 * Where a checkpoint's bytes come from. A checkpoint is a folder of files that are read by range, so a 10 GB shard
 * is never in memory as a whole. The four implementations (a folder in Node, HTTP, browser files, memory) say only
 * how to get bytes; what they mean is decided above them.
 */
import { CogwheelError } from "../base/errors.ts";
import { KIND_BYTES, kindRule } from "./file-kind.ts";
import { parseJsonObject } from "../base/json-scan.ts";

/** One file of a source: its path relative to the checkpoint's root, with `/` between folders. */
export interface SourceEntry {
  path: string;
  /** Bytes. */
  size: number;
}

/** Bytes `start` (included) to `end` (excluded) of a file. */
export interface FileRange {
  readonly path: string;
  readonly start: number;
  readonly end: number;
}

/** A folder of files read by byte range. Disposing closes what it holds open; reading after that is an error. */
export interface CheckpointSource extends AsyncDisposable {
  /** What messages call this source: a folder, an URL. */
  readonly label: string;
  /** All files, sorted by path. An HTTP source cannot list and throws. */
  list(): Promise<SourceEntry[]>;
  exists(path: string): Promise<boolean>;
  /** Bytes in the file; throws when there is no such file. */
  size(path: string): Promise<number>;
  /**
   * What another content of the file would have otherwise (an ETag, a time, a commit), where the source knows such a thing: null or left
   * out says nothing.
   */
  version?(path: string): Promise<string | null>;
  /**
   * Bytes `start` (included) to `end` (excluded). The array starts at offset 0 of its own buffer, so that a
   * typed-array view of any element size may be laid over it. A range outside the file is an error, not a short read.
   *
   * @param into memory to read into, at least as long as the range: a source that can gives its beginning back, another one an
   *   array of its own. It may be a mapped buffer's: nothing is to be written to it once the promise is settled.
   * @param signal gives this read up
   */
  read(path: string, start: number, end: number, into?: Uint8Array<ArrayBuffer>, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>>;
  /**
   * Says what will be read before long, in which order. A source where each request has a price may fetch neighbours together; what it has
   * of them is bounded, and forgotten with the signal.
   */
  prefetch?(ranges: readonly FileRange[], signal: AbortSignal): void;
  /** Bytes that are well read at once where a file is copied. Others are asked for 32 MiB: a request has a price. */
  readonly pieceBytes?: number;
}

/** Files read as a whole (configs, the tokenizer) may not be larger than this; weights are read by range. */
const WHOLE_FILE_LIMIT = 256 * 1024 * 1024;
/** The index of a thousand shards' weights is far smaller. */
const JSON_LIMIT = 32 * 1024 * 1024;

/** The whole file; for configs and tokenizers, refused above 256 MB. */
export async function readAll(source: CheckpointSource, path: string): Promise<Uint8Array<ArrayBuffer>> {
  const size = await source.size(path);
  if (size > WHOLE_FILE_LIMIT) {
    throw checkpointError(
      source,
      path,
      `a file that is read as a whole may hold at most ${WHOLE_FILE_LIMIT} bytes, ` +
        `got ${size}; check that this is the file it is named after`,
    );
  }
  return source.read(path, 0, size);
}

/** The whole file as UTF-8 text. */
export async function readText(source: CheckpointSource, path: string): Promise<string> {
  const bytes = await readAll(source, path);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw checkpointError(
      source,
      path,
      kindRule(bytes, "UTF-8 text") ?? `must be UTF-8 text, got ${bytes.length} bytes that are not; download the file again`,
      cause,
    );
  }
}

/**
 * The whole file as a JSON object. Anything but an object at the top is an error.
 * @param parse reads the text, where it is more than JSON
 */
export async function readJson(source: CheckpointSource, path: string, parse = parseJsonObject): Promise<Record<string, unknown>> {
  const size = await source.size(path);
  if (size > JSON_LIMIT)
    throw checkpointError(
      source,
      path,
      `a JSON file may hold at most ${JSON_LIMIT} bytes, got ${size}; check that this is the file it is named after`,
    );
  const text = await readText(source, path);
  return parse(text, (rule, cause) =>
    checkpointError(
      source,
      path,
      kindRule(new TextEncoder().encode(text.slice(0, KIND_BYTES)), "JSON") ?? `${rule}; download the file again`,
      cause,
    ),
  );
}

/** `[checkpoint] path: rule` with the source's label where the reader can see it. */
export function checkpointError(
  source: { readonly label: string },
  path: string,
  rule: string,
  cause?: unknown,
  lines: readonly string[] = [],
): CogwheelError {
  return new CogwheelError("checkpoint", `${path}: ${rule} (in ${source.label})${lines.length ? ":" : ""}`, {
    ...(cause === undefined ? {} : { cause }),
    lines,
  });
}

/** The error of every source for a file that is not there. */
export function missingFile(source: { readonly label: string }, path: string, cause?: unknown): CogwheelError {
  return checkpointError(source, path, "must exist, got no such file; check the folder or finish the download", cause);
}

/** The beginning of memory that a range is to be read into, or new memory where none was given that can hold it. */
export function memoryFor(bytes: number, into?: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return into && into.length >= bytes ? into.subarray(0, bytes) : new Uint8Array(bytes);
}

/** Throws unless `start…end` is a range of whole bytes inside a file of `size` bytes. */
export function checkRange(source: { readonly label: string }, path: string, start: number, end: number, size: number): void {
  if (Number.isSafeInteger(start) && Number.isSafeInteger(end) && 0 <= start && start <= end && end <= size) return;
  throw checkpointError(
    source,
    path,
    `a read must stay inside the file's ${size} bytes, got bytes ${start} to ${end}; ` +
      "the file is truncated or was replaced, download it again",
  );
}

/**
 * Checks a path before any source touches it. Paths also come from an index file that someone else wrote, so they
 * may only go downwards: no empty, `.` or `..` part, no backslash, no drive, no leading slash.
 */
export function checkPath(source: { readonly label: string }, path: string): void {
  const bad =
    path === "" ||
    /[\\\0]/.test(path) ||
    /^[A-Za-z]:/.test(path) ||
    path.split("/").some((part) => part === "" || part === "." || part === "..");
  if (bad) {
    throw checkpointError(
      source,
      JSON.stringify(path),
      "a path must be relative and stay inside the checkpoint's folder, got this one; correct the file that names it",
    );
  }
}

/** The error of a source that was used after it was disposed. */
export function disposedSource(source: { readonly label: string }): CogwheelError {
  return new CogwheelError("checkpoint", `a source must not be used after dispose, got a read of ${source.label}; open it again`);
}
