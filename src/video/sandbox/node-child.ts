/**
 * The process that reads untrusted media for Node: takes one file after another from its standard input, gives frames on descriptor 3.
 * It reads and writes without the event loop, so that it waits while its parent does not take its frames, and ends with its parent.
 */
import { closeSync, openSync, readSync, statSync, writeSync } from "node:fs";
import { availableMemoryBytes } from "../../platform/memory-node.ts";
import { readMedia } from "../read/read.ts";
import { errorMessage, tooLarge, warningMessage, type FromReader } from "./messages.ts";
import { CELL, TICK_MS } from "./node-watch.ts";
import { encodeHead, HEAD_BYTES, readHead, type ToReader } from "./node-pipe.ts";
import { beginWatched, fail } from "./node-watched.ts";
import { StrayErrors } from "./stray.ts";

const IN = 0;
const OUT = 3;
/** The longest array of bytes that every supported Node makes. */
const MOST_BYTES = 2 ** 32;
/** What a reader may have kept of the files before, as garbage, to be asked for another one. */
const MOST_LEFT = 256 * 2 ** 20;

const cells = new Int32Array(new SharedArrayBuffer(16));
const progress = (): void => void Atomics.add(cells, CELL.progress, 1);
const busy = (value: boolean): void => {
  progress();
  Atomics.store(cells, CELL.busy, value ? 1 : 0);
};
const limit = (cell: number, value: number): void => void Atomics.store(cells, cell, Math.min(2 ** 31 - 1, Math.ceil(value)));

/** Exactly so many bytes; ends the process with its input. */
function take(bytes: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(bytes);
  for (let at = 0; at < bytes; ) {
    const got = readAgain(() => readSync(IN, out, at, Math.min(bytes - at, 2 ** 24), null));
    if (got === 0) process.exit(0);
    at += got;
    progress();
  }
  return out;
}

function readAgain(read: () => number): number {
  for (;;) {
    try {
      return read();
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EOF" || code === "EPIPE" || code === "ECONNRESET") return 0;
      if (code !== "EAGAIN" && code !== "EINTR") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

/** Waits for the parent as long as that takes: it is not the reader then that gets no further. */
function send(message: FromReader, bytes: Uint8Array = new Uint8Array()): void {
  busy(false);
  for (const part of [encodeHead(message, bytes.length), bytes]) {
    for (let at = 0; at < part.length; ) {
      const put = readAgain(() => writeSync(OUT, part, at, part.length - at));
      if (put === 0) process.exit(0);
      at += put;
    }
  }
  busy(true);
}

function readWhole(path: string, size: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(size);
  const file = openSync(path, "r");
  try {
    for (let at = 0, got = 1; at < size && got > 0; at += got, progress())
      got = readAgain(() => readSync(file, out, at, Math.min(size - at, 2 ** 24), at));
  } finally {
    closeSync(file);
  }
  return out;
}

/** How much more is resident than when nothing had been read yet: what is left of the files before is not this one's. */
const left = (): number => Math.max(0, process.memoryUsage.rss() - fresh);

async function serve({ name, maxFrames, limits, path }: ToReader, given: number, taken: () => void): Promise<void> {
  limit(CELL.ticks, (1000 * limits.seconds) / TICK_MS);
  // Readers go to and fro in a file, so it is in memory as a whole.
  const size = path === undefined ? given : statSync(path).size;
  const most = Math.min(MOST_BYTES, availableMemoryBytes());
  if (size > most) throw tooLarge(name, most, size);
  limit(CELL.mebibytes, (limits.memory + size + left()) / 2 ** 20);
  let bytes: Uint8Array<ArrayBuffer>;
  if (path === undefined) {
    bytes = take(given); // as slowly as they are given
    taken();
    busy(true);
  } else {
    taken();
    busy(true);
    bytes = readWhole(path, size);
  }
  for await (const { data, width, height, seconds, duration } of readMedia(bytes, {
    name,
    maxFrames,
    limits,
    progress,
    warn: (text) => send(warningMessage(text)),
  })) {
    send(
      { type: "frame", width, height, ...(seconds === undefined ? {} : { seconds }), ...(duration === undefined ? {} : { duration }) },
      new Uint8Array(data.buffer, data.byteOffset, data.length),
    );
  }
}

async function serveAll(): Promise<void> {
  for (;;) {
    const { json, bytes } = readHead(take(HEAD_BYTES));
    const request = JSON.parse(new TextDecoder().decode(take(json))) as ToReader;
    stray.reading(request.name);
    let taken = false;
    const last = await serve(request, bytes, () => (taken = true)).then(
      (): FromReader => ({ type: "end" }),
      (error: unknown) => errorMessage(error, request.name),
    );
    // What was not taken of a file would be read as the next request.
    const spent = stray.came || !taken || left() > MOST_LEFT;
    stray.reading(undefined);
    send({ ...last, ...(spent ? { spent } : {}) });
    busy(false);
    await new Promise((resolve) => setImmediate(resolve)); // what was closed may end
  }
}

await beginWatched(new URL("./cogwheel-media-watch.js", import.meta.url), cells);
const fresh = process.memoryUsage.rss();

const stray = new StrayErrors(send, () => process.exit(1));
process.on("uncaughtException", stray.caught);
process.on("unhandledRejection", stray.caught);
send({ type: "ready" });
busy(false);
await serveAll().catch(fail);
