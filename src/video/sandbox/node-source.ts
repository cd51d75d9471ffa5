/**
 * What a path is for the reader: a regular file it opens itself, by the file's own name (/dev/stdin would be another one there);
 * what can be read only once, a pipe, is read here.
 */
import { close, constants, fstat, open } from "node:fs";
import { realpath } from "node:fs/promises";
import { Socket } from "node:net";
import { promisify } from "node:util";
import { CogwheelError } from "../../base/errors.ts";
import { availableMemoryBytes } from "../../platform/memory-node.ts";
import { systemWords } from "../../platform/system-error.ts";
import type { MediaSource } from "./types.ts";

const [opened, statOf, closed] = [promisify(open), promisify(fstat), promisify(close)];
/** Bytes of a pipe, which are in memory three times for a moment: its parts, together, and in the reader. */
const MOST_PIPED = 2 ** 30;

/** Throws a CogwheelError, or the signal's reason at once, whatever the path waits for. */
export async function sourceAt(path: string, signal?: AbortSignal): Promise<MediaSource> {
  signal?.throwIfAborted();
  let stop!: () => void;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal!.reason as Error);
    signal?.addEventListener("abort", stop, { once: true });
  });
  aborted.catch(() => {});
  try {
    return await Promise.race([readSource(path, signal), aborted]);
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof CogwheelError) throw error;
    throw new CogwheelError("video", `${path} must be a file that can be read, got ${systemWords(error)}; check the path`, {
      cause: error,
    });
  } finally {
    signal?.removeEventListener("abort", stop);
  }
}

async function readSource(path: string, signal: AbortSignal | undefined): Promise<MediaSource> {
  const release = (): void => wake(path);
  signal?.addEventListener("abort", release, { once: true });
  const file = await opened(path, "r");
  signal?.removeEventListener("abort", release);
  let owned = true;
  try {
    signal?.throwIfAborted();
    const stats = await statOf(file);
    if (stats.isFile()) return { path: await realpath(path) };
    if (stats.isDirectory()) throw Object.assign(new Error(path), { code: "EISDIR" });
    // /dev/zero has no end, and a terminal has no film.
    if (stats.isCharacterDevice() || stats.isBlockDevice())
      throw new CogwheelError("video", `${path} must be a file, a folder or a pipe, got a device; give a film or a picture`);
    // Waits without a thread, and closes what it reads.
    const pipe = new Socket({ fd: file, readable: true, writable: false, ...(signal ? { signal } : {}) });
    owned = false;
    return { bytes: await readPipe(pipe as AsyncIterable<Uint8Array>, path) };
  } finally {
    if (owned) await closed(file);
  }
}

/**
 * A thread that opens a named pipe waits until somebody writes into it, and holds the
 * process: a writer that comes and goes lets it go on.
 */
function wake(path: string): void {
  open(path, constants.O_WRONLY | constants.O_NONBLOCK, (error, file) => {
    if (!error) close(file, () => {});
  });
}

/** All that comes out of a pipe, which may have no end: as much as can be in memory here and, for a moment, in the reader too. */
async function readPipe(chunks: AsyncIterable<Uint8Array>, path: string): Promise<Uint8Array> {
  const most = Math.min(MOST_PIPED, availableMemoryBytes() / 3);
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of chunks) {
    length += chunk.length;
    if (length > most)
      throw new CogwheelError(
        "video",
        `${path} must give at most ${Math.floor(most / 2 ** 20)} MiB, got more; ` +
          "write it to a file first, or cut out what is needed (ffmpeg -i IN -t 10 -c copy OUT)",
      );
    parts.push(Uint8Array.from(chunk)); // a pipe may give a byte at a time, of a large buffer
  }
  return Buffer.concat(parts, length);
}
