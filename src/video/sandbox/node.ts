/**
 * Where Node reads untrusted media: in a child process (node-child.ts). What a damaged file makes of a demuxer or a codec (a loop, all
 * of the memory, a crash) ends that process, and is told in words; abort and the end of this process end it too.
 */
import { spawn, type ChildProcess } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { CogwheelError } from "../../base/errors.ts";
import { Customs, ended } from "./messages.ts";
import { encodeHead, PipeReader, type ToReader } from "./node-pipe.ts";
import { environment, scriptOf } from "./node-program.ts";
import { BEAT } from "./node-watch.ts";
import type { ReadFrame } from "../read/reader.ts";
import type { MediaRequest, MediaSource, ReadOptions } from "./types.ts";

export { sourceAt } from "./node-source.ts";

/** V8's own memory, where demuxers keep their tables; pictures are outside of it. */
const HEAP_MEBIBYTES = 1024;
/** How long a reader that has nothing to do stays, for the next file. Nothing is held open by it. */
const IDLE_MS = 2000;
const TICK_MS = 250;
/** How much longer than its own watch a reader is waited for that is not heard of: its start is in it. */
const GRACE_MS = 5000;
/** How long a reader may take to end after its last answer. */
const END_MS = 2000;

/** Those that run: they end with this process, however it exits. One that is killed is missed by the child itself. */
const running = new Set<ChildProcess>();
function endAll(): void {
  for (const child of running) child.kill("SIGKILL");
}

class ReaderProcess {
  readonly script: string;
  used = false;
  #child: ChildProcess | undefined;
  #frames: PipeReader | undefined;
  /** Resolves to how it ended. */
  readonly closed: Promise<void>;
  #ready = false;
  #ended = false;
  #failed: Error | undefined;
  #reason = "";
  #said = "";
  /** Since it was heard of. */
  #ticks = 0;

  constructor(script: string) {
    this.script = script;
    this.closed = new Promise((done) => this.#start(done));
  }

  #start(done: () => void): void {
    const over = (): void => {
      this.#ended = true;
      if (this.#child) running.delete(this.#child);
      if (running.size === 0) process.off("exit", endAll);
      done();
    };
    let child: ChildProcess;
    try {
      child = spawn(process.execPath, [`--max-old-space-size=${HEAP_MEBIBYTES}`, "--no-warnings", this.script, String(process.pid)], {
        env: environment(),
        stdio: ["pipe", "ignore", "pipe", "pipe", "pipe"],
        windowsHide: true,
      });
    } catch (error) {
      this.#failed = error as Error; // no memory for it, or forbidden
      over();
      return;
    }
    this.#child = child;
    child.on("close", over);
    child.on("error", (error) => {
      this.#failed ??= error;
      if (child.pid === undefined) over(); // it never began
    });
    if (running.size === 0) process.on("exit", endAll);
    running.add(child);
    if (!child.stdio) return; // so many files are open that there are no pipes for it
    const [input, , errors, frames, reason] = child.stdio as unknown as [Writable, null, Readable, Readable, Readable];
    input.on("error", () => {}); // it ended while it was given a file; how is told by its end
    errors.on("data", (chunk: Buffer) => (this.#said = (this.#said + chunk.toString()).slice(-4000)));
    reason.on("data", (chunk: Buffer) => {
      this.#ticks = 0;
      this.#reason = (this.#reason + chunk.toString().replaceAll(BEAT, "")).slice(0, 16);
    });
    this.#frames = new PipeReader(frames, () => (this.#ticks = 0));
  }

  /** Whether it had read a file before, and was not ended by its watch. */
  get stale(): boolean {
    return this.used && this.#reason === "";
  }

  get alive(): boolean {
    return !this.#ended && this.#child?.exitCode === null && this.#child.signalCode === null;
  }

  /** Whether it keeps Node's event loop, and so this process, going. */
  hold(held: boolean): void {
    for (const handle of [this.#child, ...(this.#child?.stdio ?? [])] as ({ ref?(): void; unref?(): void } | null | undefined)[])
      handle?.[held ? "ref" : "unref"]?.();
  }

  async kill(): Promise<void> {
    this.hold(true);
    this.#child?.kill("SIGKILL");
    for (const stream of this.#child?.stdio ?? []) stream?.destroy(); // frames that nobody takes would keep it from being over
    await this.closed;
  }

  ask(source: MediaSource, request: MediaRequest): void {
    const bytes = "bytes" in source ? source.bytes : undefined;
    const message: ToReader = "bytes" in source ? request : { ...request, path: source.path };
    this.#child?.stdin?.write(encodeHead(message, bytes?.length ?? 0));
    if (bytes?.length) this.#child?.stdin?.write(bytes);
  }

  /**
   * Its next answer; `undefined` when there are no more. Throws where it is not to be believed,
   * and where nothing was heard of it for too long.
   */
  async next(request: MediaRequest, customs: Customs): Promise<{ message: unknown; bytes: Uint8Array } | undefined> {
    const frames = this.#frames;
    if (!frames) return undefined;
    const refuse = (what: string): Error => customs.broken(what);
    // Time is counted in ticks of this thread: what kept it from them did not make the reader late.
    this.#ticks = 0;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setInterval(() => {
        if (++this.#ticks * TICK_MS > 1000 * request.limits.seconds + GRACE_MS) reject(ended(request.name, "stalled", request.limits));
      }, TICK_MS);
    });
    try {
      if (!this.#ready) {
        const first = await Promise.race([frames.next(0, refuse), late]);
        if (!first) return undefined;
        if ((first.message as { type?: unknown } | null)?.type !== "ready") throw refuse("a message before it was ready");
        this.#ready = true;
      }
      return await Promise.race([frames.next(customs.mostBytes, refuse), late]);
    } finally {
      clearInterval(timer);
    }
  }

  /** Waits for its end, which follows its last answer; false where it stays all the same. */
  async over(): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<false>((resolve) => (timer = setTimeout(resolve, END_MS, false)));
    return await Promise.race([this.closed.then(() => true), late]).finally(() => clearTimeout(timer));
  }

  /** Why it ended, after it did. */
  why({ name, limits }: MediaRequest): CogwheelError {
    const cause = this.#said.trim() ? { cause: new Error(this.#said.trim()) } : {};
    if (this.#failed)
      return new CogwheelError(
        "video",
        `media are read in a process of their own, which must start, got ${this.#failed.message}; ` +
          "allow more processes and open files (ulimit -u, ulimit -n), or close some",
        { cause: this.#failed },
      );
    if (this.#reason === "memory" || this.#reason === "stalled") return ended(name, this.#reason, limits);
    if (/heap out of memory|FATAL ERROR: .*(memory|allocation)/i.test(this.#said))
      return ended(name, "memory", { ...limits, memory: HEAP_MEBIBYTES * 2 ** 20 });
    const { exitCode, signalCode } = this.#child!;
    const how = signalCode ?? `exit code ${exitCode}`;
    // Somebody's SIGKILL says nothing of the program.
    if (!this.#ready && signalCode !== "SIGKILL")
      return new CogwheelError(
        "video",
        `media are read by a program of their own, ${this.script}, which must start, got its end with ${how} before it began; ` +
          "install the package anew, or let there be memory and threads for it",
        cause,
      );
    return new CogwheelError(
      "video",
      `${name} must be a file that can be read, ` +
        `got one on which the reader's process ended with ${how}, as damaged ones make it; convert it`,
      cause,
    );
  }
}

let idle: { process: ReaderProcess; timer: NodeJS.Timeout } | undefined;

function take(script: string): ReaderProcess {
  const kept = idle;
  if (kept && (kept.process.script === script || !kept.process.alive)) {
    clearTimeout(kept.timer);
    idle = undefined;
    if (kept.process.alive) return kept.process;
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

export async function* readUntrusted(
  source: MediaSource,
  request: MediaRequest,
  { signal, onWarning, reader }: ReadOptions,
): AsyncGenerator<ReadFrame, void, undefined> {
  signal?.throwIfAborted();
  const script = await scriptOf(reader);
  signal?.throwIfAborted();
  let child = take(script);
  child.hold(true);
  const customs = new Customs(request, onWarning);
  const stop = (): void => void child.kill();
  signal?.addEventListener("abort", stop, { once: true });
  let done = { last: false, spent: false };
  try {
    child.ask(source, request);
    for (let messages = 0; ; messages++) {
      const got = await child.next(request, customs);
      signal?.throwIfAborted();
      if (!got) {
        const over = await child.over();
        signal?.throwIfAborted();
        if (!over) throw customs.broken("an end while it went on");
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
