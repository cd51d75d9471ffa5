/**
 * Where a browser reads untrusted media: in a worker (browser-worker.ts). What a damaged file makes of a demuxer ends that worker and is
 * told in words; abort ends it too. Its memory is bounded by the limits that readers hold; codecs have processes of the browser's.
 */
import { CogwheelError } from "../../base/errors.ts";
import type { ReadFrame } from "../read/reader.ts";
import type { FromWorker, ToWorker } from "./browser-worker.ts";
import { Customs, ended } from "./messages.ts";
import type { MediaRequest, MediaSource, ReadOptions } from "./types.ts";

const TICK_MS = 250;
/** How long a worker that has nothing to do stays, for the next file. */
const IDLE_MS = 2000;
/** Messages that nobody took yet: a worker waits for its frames to be taken, and its warnings are few. */
const MOST_WAITING = 20_000;

class ReaderWorker {
  readonly #worker: Worker;
  readonly named: string | undefined;
  readonly #messages: FromWorker[] = [];
  #wake: (() => void) | undefined;
  #failed: string | undefined;
  #ticks = 0;
  over = false;

  constructor(worker: Worker, named: string | undefined) {
    this.#worker = worker;
    this.named = named;
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      this.#ticks = 0;
      if (data?.type === "progress") return;
      this.#messages.push(data);
      if (this.#messages.length > MOST_WAITING) this.#failed = `more than ${MOST_WAITING} messages at once`;
      this.#wake?.();
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.#failed = event.message || "an error";
      this.#wake?.();
    };
  }

  send(message: ToWorker, transfer: Transferable[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  end(): void {
    this.over = true;
    this.#worker.terminate();
    this.#wake?.();
  }

  /** The next message. Time is counted in ticks of this thread: what kept it from them did not make the worker late. */
  async next({ name, limits }: MediaRequest): Promise<FromWorker | undefined> {
    this.#ticks = 0;
    const timer = setInterval(() => {
      if (++this.#ticks * TICK_MS > 1000 * limits.seconds) this.#wake?.();
    }, TICK_MS);
    try {
      for (;;) {
        const message = this.#messages.shift();
        if (message) return message;
        if (this.over) return undefined;
        if (this.#failed !== undefined)
          throw new CogwheelError(
            "video",
            `${name} must be a file that can be read, got one on which the reader's worker ended with ${this.#failed}; convert it`,
          );
        if (this.#ticks * TICK_MS > 1000 * limits.seconds) throw ended(name, "stalled", limits);
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } finally {
      clearInterval(timer);
    }
  }
}

let idle: { worker: ReaderWorker; timer: ReturnType<typeof setTimeout> } | undefined;

async function take(reader: string | URL | undefined, seconds: number, signal: AbortSignal | undefined): Promise<ReaderWorker> {
  const named = reader === undefined ? undefined : String(reader);
  if (idle?.worker.named === named && idle) {
    const { worker, timer } = idle;
    clearTimeout(timer);
    idle = undefined;
    return worker;
  }
  const { startWorker } = await part(() => import("./browser-start.ts"));
  return new ReaderWorker(await startWorker(reader, seconds, signal), named);
}

/** A part of the package that its user's bundle or server may lack. */
async function part<T>(load: () => Promise<T>): Promise<T> {
  return await load().catch((error: unknown) => {
    throw new CogwheelError(
      "video",
      `films and pictures are read by parts of this package that are loaded when they are needed, got ${(error as Error).message}; ` +
        "serve all of its files (dist/chunks), of one version",
      { cause: error },
    );
  });
}

function keep(worker: ReaderWorker): void {
  if (idle) {
    worker.end();
    return;
  }
  const timer = setTimeout(() => {
    idle = undefined;
    worker.end();
  }, IDLE_MS);
  idle = { worker, timer };
}

export async function* readUntrusted(
  source: MediaSource,
  request: MediaRequest,
  { signal, onWarning, reader }: ReadOptions,
): AsyncGenerator<ReadFrame, void, undefined> {
  signal?.throwIfAborted();
  if (!("bytes" in source)) throw noPath(source.path);
  const worker = await take(reader, request.limits.seconds, signal);
  const customs = new Customs(request, onWarning);
  const stop = (): void => worker.end();
  signal?.addEventListener("abort", stop, { once: true });
  let done = { last: false, spent: false };
  try {
    signal?.throwIfAborted();
    // The view's bytes alone: a clone of a view is one of all that is behind it, and shared memory would be shared.
    const bytes = source.bytes.slice();
    worker.send({ request, bytes }, [bytes.buffer]);
    while (!done.last) {
      const message = await worker.next(request);
      signal?.throwIfAborted();
      if (message?.type === "codec") {
        const { codecFor } = await part(() => import("./browser-codecs.ts"));
        worker.send(await codecFor(message.name));
        continue;
      }
      done = customs.isLast(message);
      const bytes = message && "bytes" in message && message.bytes instanceof Uint8Array ? message.bytes : undefined;
      const frame = customs.take(message, bytes);
      if (!frame) continue;
      yield frame;
      worker.send("taken");
    }
  } finally {
    signal?.removeEventListener("abort", stop);
    if (done.last && !done.spent && !worker.over) keep(worker);
    else worker.end();
  }
}

export async function sourceAt(path: string): Promise<MediaSource> {
  throw noPath(path);
}

function noPath(path: string): CogwheelError {
  return new CogwheelError("video", `a browser has no file paths, got "${path}"; give decodeVideo the bytes of a file.`);
}
