/**
 * Where Node reads untrusted media: in a child process (node-child.ts). What a damaged file makes of a demuxer or a codec (a loop, all
 * of the memory, a crash) ends that process, and is told in words; abort and the end of this process end it too.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { open, realpath, type FileHandle } from "node:fs/promises";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { CogwheelError } from "../../errors.ts";
import { availableMemoryBytes } from "../../platform/memory-node.ts";
import { Customs, ended } from "./messages.ts";
import { encodeHead, PipeReader, type ToReader } from "./node-pipe.ts";
import type { ReadFrame } from "../read/reader.ts";
import type { MediaRequest, MediaSource, ReadOptions } from "./types.ts";

/** V8's own memory, where demuxers keep their tables; pictures are outside of it. */
const HEAP_MEBIBYTES = 1024;
/** How long a reader that has nothing to do stays, for the next file. Nothing is held open by it. */
const IDLE_MS = 2000;
/** Bytes of a pipe, which are in memory three times for a moment: its parts, together, and in the reader. */
const MOST_PIPED = 2 ** 30;
/** Variables without which a program may not start; all others, the adapters' among them, stay here. */
const KEPT = /^(PATH|HOME|TMPDIR|TEMP|TMP|LANG|LC_\w+|TZ|LD_LIBRARY_PATH|DYLD_\w+|SYSTEMROOT|WINDIR|USERPROFILE|APPDATA|LOCALAPPDATA|NODE_PATH|NODE_OPTIONS)$/i;

/** The script lies beside the bundle of this file, or beside the folder of its chunks; in a checkout in dist/. */
function scriptOf(named: string | URL | undefined): string {
  if (named !== undefined) return named instanceof URL || named.startsWith("file:") ? fileURLToPath(named) : named;
  const places = ["./media.js", "../media.js", "../../../dist/media.js"].map((path) => fileURLToPath(new URL(path, import.meta.url)));
  const found = places.find((path) => existsSync(path));
  if (found === undefined) throw new CogwheelError("video", `media are read by a program of their own, dist/media.js of this package, which must lie beside ${fileURLToPath(import.meta.url)}, got none; name it with the option reader`);
  return found;
}

function environment(): NodeJS.ProcessEnv {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => KEPT.test(name)));
  // A debugger's port is taken already.
  if (env["NODE_OPTIONS"]) env["NODE_OPTIONS"] = env["NODE_OPTIONS"].replace(/--inspect\S*/g, "");
  return { ...env, ELECTRON_RUN_AS_NODE: "1" };
}

/** Those that run: they end with this process, however it exits. One that is killed is missed by the child itself. */
const running = new Set<ChildProcess>();
function endAll(): void {
  for (const child of running) child.kill("SIGKILL");
}

class ReaderProcess {
  readonly script: string;
  used = false;
  readonly #child: ChildProcess;
  readonly #frames: PipeReader | undefined;
  /** Resolves to how it ended. */
  readonly closed: Promise<void>;
  #ended = false;
  #failed: Error | undefined;
  #reason = "";
  #said = "";

  constructor(script: string) {
    this.script = script;
    const child = spawn(process.execPath, [`--max-old-space-size=${HEAP_MEBIBYTES}`, "--no-warnings", script, String(process.pid)], {
      env: environment(), stdio: ["pipe", "ignore", "pipe", "pipe", "pipe"], windowsHide: true,
    });
    this.#child = child;
    this.closed = new Promise((done) => {
      const over = (): void => {
        this.#ended = true;
        running.delete(child);
        if (running.size === 0) process.off("exit", endAll);
        done();
      };
      child.on("close", over);
      child.on("error", (error) => {
        this.#failed ??= error;
        if (child.pid === undefined) over(); // it never began
      });
    });
    if (running.size === 0) process.on("exit", endAll);
    running.add(child);
    if (!child.stdio) return; // so many files are open that there are no pipes for it
    const [input, , errors, frames, reason] = child.stdio as unknown as [Writable, null, Readable, Readable, Readable];
    input.on("error", () => {}); // it ended while it was given a file; how is told by its end
    errors.on("data", (chunk: Buffer) => (this.#said = (this.#said + chunk.toString()).slice(-4000)));
    reason.on("data", (chunk: Buffer) => (this.#reason += chunk.toString()));
    this.#frames = new PipeReader(frames);
  }

  /** Whether it had read a file before, and was not ended by its watch. */
  get stale(): boolean {
    return this.used && this.#reason === "";
  }

  get alive(): boolean {
    return !this.#ended && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Whether it keeps Node's event loop, and so this process, going. */
  hold(held: boolean): void {
    for (const handle of [this.#child, ...(this.#child.stdio ?? [])] as ({ ref?(): void; unref?(): void } | null)[]) handle?.[held ? "ref" : "unref"]?.();
  }

  async kill(): Promise<void> {
    this.hold(true);
    this.#child.kill("SIGKILL");
    for (const stream of this.#child.stdio ?? []) stream?.destroy(); // frames that nobody takes would keep it from being over
    await this.closed;
  }

  ask(source: MediaSource, request: MediaRequest): void {
    const bytes = "bytes" in source ? source.bytes : undefined;
    const message: ToReader = "bytes" in source ? request : { ...request, path: source.path };
    this.#child.stdin?.write(encodeHead(message, bytes?.length ?? 0));
    if (bytes?.length) this.#child.stdin?.write(bytes);
  }

  async next(mostBytes: number, refuse: (what: string) => Error): Promise<{ message: unknown; bytes: Uint8Array } | undefined> {
    return await this.#frames?.next(mostBytes, refuse).catch((error: unknown) => {
      if (error instanceof CogwheelError) throw error;
      return undefined; // the pipe broke
    });
  }

  /** Why it ended, after it did. */
  why({ name, limits }: MediaRequest): CogwheelError {
    const cause = this.#said.trim() ? { cause: new Error(this.#said.trim()) } : {};
    if (this.#failed) return new CogwheelError("video", `media are read in a process of their own, which must start, got ${this.#failed.message}; allow more processes and open files (ulimit -u, ulimit -n), or close some`, { cause: this.#failed });
    if (this.#reason === "memory" || this.#reason === "stalled") return ended(name, this.#reason, limits);
    if (/heap out of memory|FATAL ERROR: .*(memory|allocation)/i.test(this.#said)) return ended(name, "memory", { ...limits, memory: HEAP_MEBIBYTES * 2 ** 20 });
    const { exitCode, signalCode } = this.#child;
    return new CogwheelError("video", `${name} must be a file that can be read, got one on which the reader's process ended with ${signalCode ?? `exit code ${exitCode}`}, as damaged ones make it; convert it`, cause);
  }
}

let idle: { process: ReaderProcess; timer: NodeJS.Timeout } | undefined;

function take(script: string): ReaderProcess {
  const kept = idle;
  if (kept?.process.alive && kept.process.script === script) {
    clearTimeout(kept.timer);
    idle = undefined;
    return kept.process;
  }
  return new ReaderProcess(script);
}

function keep(process: ReaderProcess): void {
  if (idle) return void process.kill();
  process.hold(false);
  process.used = true;
  const timer = setTimeout(() => {
    if (idle?.process === process) idle = undefined;
    void process.kill();
  }, IDLE_MS);
  timer.unref();
  idle = { process, timer };
}

export async function* readUntrusted(source: MediaSource, request: MediaRequest, { signal, onWarning, reader }: ReadOptions): AsyncGenerator<ReadFrame, void, undefined> {
  signal?.throwIfAborted();
  const script = scriptOf(reader);
  let child = take(script);
  child.hold(true);
  const customs = new Customs(request, onWarning);
  const stop = (): void => void child.kill();
  signal?.addEventListener("abort", stop, { once: true });
  let done = { last: false, spent: false };
  try {
    child.ask(source, request);
    for (let messages = 0; ; messages++) {
      const got = await child.next(customs.mostBytes, (what) => customs.broken(what));
      signal?.throwIfAborted();
      if (!got) {
        await child.closed;
        if (messages > 0 || !child.stale) throw child.why(request);
        // Its end comes from the file before, or from nothing to do: this one has not had its turn.
        child = new ReaderProcess(script);
        child.ask(source, request);
        continue;
      }
      done = customs.isLast(got.message);
      const frame = customs.take(got.message, got.bytes);
      if (done.last) return;
      if (frame) yield frame;
      signal?.throwIfAborted();
    }
  } finally {
    signal?.removeEventListener("abort", stop);
    if (done.last && !done.spent && child.alive) keep(child);
    else await child.kill();
  }
}

/** A regular file is opened by the reader, by its own name: /dev/stdin would be another one there. What can be read only once (a pipe) is read here. */
export async function sourceAt(path: string, signal?: AbortSignal): Promise<MediaSource> {
  signal?.throwIfAborted();
  const found = find(path, signal);
  if (!signal) return await found;
  // A pipe into which nobody writes is neither opened nor closed, and nothing ends that: it is left alone.
  let stop = (): void => {};
  const aborted = new Promise<never>((_, reject) => signal.addEventListener("abort", (stop = () => reject(signal.reason as Error))));
  try {
    return await Promise.race([found, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
    found.catch(() => {});
  }
}

async function find(path: string, signal: AbortSignal | undefined): Promise<MediaSource> {
  try {
    await using file = await open(path, "r");
    const status = await file.stat();
    if (status.isFile()) return { path: await realpath(path) };
    // /dev/zero has no end, and a terminal has no film.
    if (status.isCharacterDevice() || status.isBlockDevice()) throw new CogwheelError("video", `${path} must be a file, a folder or a pipe, got a device; give a film or a picture`);
    return { bytes: await readPipe(file, path, signal) };
  } catch (error) {
    if (error instanceof CogwheelError) throw error;
    throw new CogwheelError("video", `${path} must be a file that can be read, got ${(error as Error).message}; check the path.`, { cause: error });
  }
}

/** All that comes out of a pipe, which may have no end: as much as can be in memory here and, for a moment, in the reader too. */
async function readPipe(file: FileHandle, path: string, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const most = Math.min(MOST_PIPED, availableMemoryBytes() / 3);
  const parts: Uint8Array[] = [];
  for (let length = 0; ; ) {
    const { buffer, bytesRead } = await file.read(new Uint8Array(2 ** 16));
    signal?.throwIfAborted();
    if (bytesRead === 0) return Buffer.concat(parts, length);
    parts.push(buffer.slice(0, bytesRead)); // a pipe may give a byte at a time
    length += bytesRead;
    if (length > most) throw new CogwheelError("video", `${path} must give at most ${Math.floor(most / 2 ** 20)} MiB, got more; write it to a file first, or cut out what is needed (ffmpeg -i IN -t 10 -c copy OUT)`);
  }
}
