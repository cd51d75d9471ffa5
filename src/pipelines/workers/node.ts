/**
 * Worker processes on this machine, each with a device of its own: the VAE of a checkpoint, split in time over them. This process hands
 * their regions from one to another. A worker that dies, or fails, ends the others at once, and is named.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import type { Duplex, Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { CogwheelError } from "../../base/errors.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import type { ClipRunner } from "../../models/vae/split/clip.ts";
import type { WorkerReport } from "../../models/vae/split/run.ts";
import { shareOf } from "../../models/vae/split/share.ts";
import { encodeHead, PipeReader } from "../../video/sandbox/node-pipe.ts";
import {
  type FromPieceWorker,
  MOST_BYTES,
  type ToPieceWorker,
  type WorkerOpening,
  type WorkerPlace,
  type WorkerProcesses,
} from "./types.ts";

const PLACES = ["./", "../", "../../../dist/"];

/** Those that run: they end with this process, however it exits. One that is killed is missed by the workers themselves. */
const running = new Set<ChildProcess>();
function endAll(): void {
  for (const child of running) child.kill("SIGKILL");
}

/** The script lies beside the package's bundle, beside the folder of its chunks, or in a checkout in dist/. */
export function scriptOf(name: string): string {
  const here: string | undefined = import.meta.url; // bundlers leave nothing of it in CommonJS
  const found = here && PLACES.map((place) => fileURLToPath(new URL(place + name, here))).find((path) => existsSync(path));
  if (found) return found;
  throw new CogwheelError(
    "vae",
    `workers run a program of their own, dist/${name} of this package, which must lie beside the package's other files, ` +
      "got none; do not bundle the package into one file, or leave the option workers out",
  );
}

/** A process, and what it and this one tell each other. It says `error` where it failed, and ends. */
export class WorkerProcess<To extends object, From extends { readonly type: string }> {
  readonly #child: ChildProcess;
  readonly #pipe: Duplex | undefined;
  readonly #reader: PipeReader | undefined;
  readonly closed: Promise<void>;
  #said = "";
  #failed: Error | undefined;

  constructor(
    readonly name: string,
    script: string,
    { env }: WorkerPlace,
  ) {
    const child = spawn(process.execPath, ["--no-warnings", script], {
      env: { ...process.env, ...env },
      stdio: ["ignore", "ignore", "pipe", "pipe"],
      windowsHide: true,
    });
    this.#child = child;
    if (running.size === 0) process.on("exit", endAll);
    running.add(child);
    this.closed = new Promise((resolve) => {
      const over = (): void => {
        running.delete(child);
        if (running.size === 0) process.off("exit", endAll);
        resolve();
      };
      child.on("close", over);
      child.on("error", (error) => {
        this.#failed ??= error;
        if (child.pid === undefined) over(); // it never began
      });
    });
    const [, , errors, pipe] = (child.stdio ?? []) as unknown as [null, null, Readable | undefined, Duplex | undefined];
    errors?.on("data", (chunk: Buffer) => (this.#said = (this.#said + chunk.toString()).slice(-4000)));
    pipe?.on("error", () => {}); // it ended while it was given something; how is told by its end
    this.#pipe = pipe;
    this.#reader = pipe && new PipeReader(pipe, () => undefined);
  }

  /** Does it keep Node's event loop, and so this process, going? */
  hold(held: boolean): void {
    for (const handle of [this.#child, ...(this.#child.stdio ?? [])] as ({ ref?(): void; unref?(): void } | null | undefined)[])
      handle?.[held ? "ref" : "unref"]?.();
  }

  send(message: To, parts: readonly Uint8Array[] = []): void {
    this.#pipe?.write(
      encodeHead(
        message,
        parts.reduce((n, { byteLength }) => n + byteLength, 0),
      ),
    );
    for (const part of parts) if (part.byteLength) this.#pipe?.write(part);
  }

  /** What it says next; throws where it has ended, or says that it failed. */
  async next(): Promise<{ message: From; bytes: Uint8Array<ArrayBuffer> }> {
    const got = await this.#reader?.next(
      MOST_BYTES,
      (what) => new CogwheelError("vae", `${this.name} must say what it is meant to, got ${what}; install the package anew`),
    );
    if (!got) throw await this.#death();
    const message = got.message as From | { readonly type: "error"; readonly message: string };
    if (failed(message)) {
      const [, adapters] = /^\[adapter\] --adapter must be (.*)$/s.exec(message.message) ?? [];
      if (adapters !== undefined) throw new CogwheelError("vae", `workers must be a number, or each on an adapter: ${adapters}`);
      throw new CogwheelError(
        "vae",
        `${this.name} must do its part of the clip, got ${message.message.replace(/\.?$/, "")}; the others were ended`,
      );
    }
    return { message: message as From, bytes: got.bytes as Uint8Array<ArrayBuffer> };
  }

  async #death(): Promise<CogwheelError> {
    this.#child.kill("SIGKILL");
    await this.closed;
    const how = this.#failed?.message ?? this.#child.signalCode ?? `exit code ${this.#child.exitCode}`;
    const said = this.#said.trim();
    return new CogwheelError(
      "vae",
      `${this.name} must live until the clip is done, got its end with ${how}; ` +
        "the others were ended, run it again, with fewer workers if memory was short",
      { ...(said ? { cause: new Error(said) } : {}) },
    );
  }

  kill(): void {
    this.#child.kill("SIGKILL");
    this.#pipe?.destroy();
  }
}

const failed = (message: { readonly type: string }): message is { readonly type: "error"; readonly message: string } =>
  message.type === "error";

type Worker = WorkerProcess<ToPieceWorker, FromPieceWorker>;

class Processes implements WorkerProcesses {
  #workers: Promise<readonly Worker[]> | undefined;
  /** All that were started and not ended. */
  #alive: readonly Worker[] = [];

  constructor(
    private readonly opening: WorkerOpening,
    private readonly places: readonly WorkerPlace[],
    private readonly config: VaeConfig,
    private readonly onWarning: (text: string) => void,
  ) {}

  /** All of them, with the VAE open. */
  async #start(): Promise<readonly Worker[]> {
    const script = scriptOf("cogwheel-worker.js");
    const { places } = this;
    const workers = places.map((place, i): Worker => new WorkerProcess(`worker ${i + 1} of ${places.length}`, script, place));
    this.#alive = workers;
    await each(workers, async (worker, i) => {
      const { adapter } = places[i]!;
      const options = { ...this.opening.options, ...(adapter === undefined ? {} : { adapter }) };
      worker.send({ type: "open" }, [new TextEncoder().encode(JSON.stringify({ ...this.opening, options } satisfies WorkerOpening))]);
      for (;;) {
        const { message } = await worker.next();
        if (message.type === "warning" && i === 0) this.onWarning(message.text);
        if (message.type === "ready") return;
      }
    });
    return workers;
  }

  readonly run: ClipRunner = async (clip, data, { signal, checkFinite, onProgress }, collect) => {
    const count = this.places.length;
    const share = shareOf(this.config, clip, count);
    signal?.throwIfAborted();
    const stop = (): void => this[Symbol.dispose]();
    signal?.addEventListener("abort", stop, { once: true });
    try {
      const workers = await (this.#workers ??= this.#start());
      for (const worker of workers) worker.hold(true);
      const done = new Array<number>(count).fill(0);
      const reports: WorkerReport[] = [];
      const give = share.collector(collect);
      await each(workers, async (worker, index) => {
        const inputs = share.turns(index).flatMap(({ parts }) => parts.map(({ part }) => share.input(index, part, data)));
        const parts = inputs.map((x) => new Uint8Array(x.buffer, x.byteOffset, x.byteLength));
        worker.send({ type: "piece", clip, workers: count, index, checkFinite: checkFinite === true }, parts);
        for (;;) {
          const { message, bytes } = await worker.next();
          if (message.type === "put") workers[message.to]!.send({ type: "region", from: index, region: message.region }, [bytes]);
          else if (message.type === "progress") {
            done[index] = message.done;
            onProgress?.(done.reduce((a, b) => a + b, 0) / count);
          } else if (message.type === "warning" && index === 0) this.onWarning(message.text);
          else if (message.type === "part") {
            await give(index, message.part, bytes.buffer, message.shape);
          } else if (message.type === "done") {
            reports[index] = message.report;
            return;
          }
        }
      });
      for (const worker of workers) worker.hold(false);
      return reports;
    } catch (error) {
      // Where one has ended the others would wait for it.
      this[Symbol.dispose]();
      throw signal?.aborted ? signal.reason : error;
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  };

  /** Ends the processes; the next clip starts others. */
  [Symbol.dispose](): void {
    for (const worker of this.#alive) worker.kill();
    this.#alive = [];
    this.#workers = undefined;
  }
}

/** Does `work` for all at once; rejects with the first that fails. */
export async function each<W>(workers: readonly W[], work: (worker: W, index: number) => Promise<void>): Promise<void> {
  await Promise.all(workers.map(work));
}

/** Worker processes for a checkpoint's VAE, a worker for each place; they are started by the first clip, and kept for the next. */
export function startWorkers(
  opening: WorkerOpening,
  places: readonly WorkerPlace[],
  config: VaeConfig,
  onWarning: (text: string) => void = () => undefined,
): WorkerProcesses {
  return new Processes(opening, places, config, onWarning);
}
