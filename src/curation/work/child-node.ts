/**
 * The process that works on strangers' films for Node: takes one task after another, answers each. A thread of it, the watch that readers
 * of media have too, ends it where it gets no further, takes too much memory, or has lost its parent.
 */
import { createHash } from "node:crypto";
import { mkdir, open, readFile, rename, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { FilePathSource, MPEG_TS } from "mediabunny";
import { CogwheelError } from "../../base/errors.ts";
import { systemWords } from "../../platform/system-error.ts";
import { CELL, TICK_MS } from "../../video/sandbox/node-watch.ts";
import { beginWatched } from "../../video/sandbox/node-watched.ts";
import { runTask, shrunkFrames, type WorkTask, type TaskFile } from "./tasks.ts";

/** What the parent asks for. */
export interface ChildRequest {
  readonly id: number;
  readonly path: string;
  /** What messages call the file. */
  readonly name: string;
  readonly task: WorkTask;
  /** Where the result's bytes are written, whole or not at all. */
  readonly to?: string;
  readonly limits: { readonly seconds: number; readonly memory: number };
}

/** What it is answered; bytes are in the file, and are told by their number and digest. */
export type ChildAnswer =
  | { readonly id: number; readonly value: Record<string, unknown> }
  | { readonly id: number; readonly rule: string; readonly room: string; readonly retry?: true };

/** Pictures are read whole, and are not as large. */
const MOST_WHOLE = 2 ** 31;
const HEAD = 4096;

const cells = new Int32Array(new SharedArrayBuffer(16));
const progress = (): void => void Atomics.add(cells, CELL.progress, 1);

async function serve({ path, name, task, to, limits }: ChildRequest): Promise<Record<string, unknown>> {
  Atomics.store(cells, CELL.ticks, Math.ceil((1000 * limits.seconds) / TICK_MS));
  Atomics.store(cells, CELL.mebibytes, Math.ceil(limits.memory / 2 ** 20));
  progress();
  Atomics.store(cells, CELL.busy, 1);
  try {
    if (task.task === "digest") return { hash: await digestOf(path) };
    if (task.task === "frames") return { bytes: await writeWhole(to!, shrunkFrames(fileAt(path, name), task.size, progress)) };
    const result: object = await runTask(fileAt(path, name), task, progress);
    const bytes = "curves" in result ? (result.curves as Uint8Array) : "file" in result ? (result.file as Uint8Array) : undefined;
    const { curves: _, file: __, ...rest } = result as Record<string, unknown>;
    if (!bytes || to === undefined) return rest;
    await writeWhole(to, [bytes]);
    return { ...rest, bytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
  } finally {
    Atomics.store(cells, CELL.busy, 0);
  }
}

function fileAt(path: string, name: string): TaskFile {
  return {
    name,
    async head() {
      const file = await open(path);
      try {
        const { bytesRead, buffer } = await file.read(Buffer.alloc(HEAD), 0, HEAD, 0);
        return new Uint8Array(buffer.subarray(0, bytesRead));
      } finally {
        await file.close();
      }
    },
    async whole() {
      const { size } = await stat(path);
      if (size > MOST_WHOLE) throw new CogwheelError("scan", `${name} must have 2 GiB as a picture, got ${size} bytes; scale it down`);
      return new Uint8Array(await readFile(path));
    },
    media: () => new FilePathSource(path, { handleUnhandledError: () => {} }),
    more: [MPEG_TS],
  };
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  const file = await open(path);
  try {
    for await (const chunk of file.createReadStream({ highWaterMark: 2 ** 20 })) {
      hash.update(chunk as Buffer);
      progress();
    }
  } finally {
    await file.close();
  }
  return hash.digest("hex");
}

/** @returns how many bytes there were */
async function writeWhole(to: string, parts: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<number> {
  await mkdir(dirname(to), { recursive: true });
  const part = `${to}.${process.pid}.part`;
  const file = await open(part, "w");
  let count = 0;
  try {
    for await (const bytes of parts) {
      await file.writeFile(bytes);
      count += bytes.length;
    }
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(part, to);
  return count;
}

function answerOf(id: number, error: unknown, name: string): ChildAnswer {
  if (error instanceof CogwheelError) return { id, room: error.room, rule: error.message.replace(/^\[[^\]]*\] /, "") };
  const { code, syscall, message } = error as NodeJS.ErrnoException;
  if (code !== undefined && syscall !== undefined)
    return { id, room: "scan", rule: `${name} must be readable, got ${systemWords(error)}; give rights to it, or make room`, retry: true };
  return { id, room: "scan", rule: `${name} must be a whole file of its kind, got ${String(message)}; convert it` };
}

process.on("disconnect", () => process.exit(0));
await beginWatched(new URL("./cogwheel-media-watch.js", import.meta.url), cells);
let current: ChildRequest | undefined;
/** A promise that nobody awaited: the file that is worked on is the reason, and in what state a library is then nobody knows. */
const stray = (error: unknown): void => {
  if (!current) return;
  process.send!(answerOf(current.id, error, current.name), () => process.exit(1));
};
process.on("uncaughtException", stray);
process.on("unhandledRejection", stray);
process.on("message", (request: ChildRequest) => {
  current = request;
  void serve(request).then(
    (value) => {
      current = undefined;
      process.send!({ id: request.id, value, rss: process.memoryUsage.rss() });
    },
    (error: unknown) => {
      current = undefined;
      process.send!({ ...answerOf(request.id, error, request.name), rss: process.memoryUsage.rss() });
    },
  );
});
process.send!({ ready: true });
