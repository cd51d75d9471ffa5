/**
 * A worker: takes jobs one after another and makes their videos. What it has reached is saved after every step, so that another goes on
 * from there when it is killed; what it says of a job is written by compare-and-set under its lease, so that a worker that was thought
 * dead and comes back writes nothing.
 */
import { availableMemoryBytes } from "#platform";
import { causeOf } from "../base/cause.ts";
import { CogwheelError } from "../base/errors.ts";
import { pause } from "../base/pause.ts";
import { sha256 } from "../base/sha256.ts";
import { OutOfMemory } from "../gpu/gpu.ts";
import type { GenerationRequest } from "../pipelines/cogvideox/request.ts";
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import { readEmbeds, writeEmbeds } from "../pipelines/embeds-file.ts";
import { defined, type GenerateOptions } from "../pipelines/options.ts";
import type { GenerationStep } from "../pipelines/generation.ts";
import { writeLatents, type SavedRun } from "../pipelines/latents-file.ts";
import { readLatents } from "../pipelines/read-latents.ts";
import { savedRun } from "../pipelines/saved-run.ts";
import type { Video } from "../pipelines/video.ts";
import { encodeVideo } from "../video/encode.ts";
import { fitFrame } from "../video/fit.ts";
import type { Frame } from "../video/frame.ts";
import type { Hint } from "./backend.ts";
import { askedOf, type AskedJob } from "./inputs.ts";
import { embedsBlob, outputBlob, stateBlob, type Job, type JobError } from "./job.ts";
import { goesOn, LeasedJob, LeaseLost, type Holder } from "./leased-job.ts";
import { sheet, thumbnail } from "./pictures.ts";
import { failedJob, isOver, type JobStore } from "./store.ts";
import { canDenoise, canTake, nextStage, STAGES, type Digests, type JobStage } from "./stages.ts";
import { weightsDigests } from "./weights-digest.ts";
import { announce, leave } from "./workers.ts";

/** A model that a worker serves. */
export interface WorkerModel {
  /** What requests call it. */
  readonly name: string;
  /**
   * Opens it, with the weights of the stages that the worker does; again, with `keep` false, where the adapter has too little memory for
   * what is kept between jobs.
   * @param keep whether its parts stay on the adapter
   */
  open(keep: boolean): Promise<CogVideoX>;
  /** How its weights are stored where they are quantized (q8, q4); the model's own type otherwise. */
  readonly stored?: string;
}

/** Work of another kind than jobs, which hints of the queue name too. */
export interface OtherWork {
  /** Its hints begin so. */
  readonly prefix: string;
  /** Does what a hint names, with the models that are open, or leaves it to others. */
  take(hint: Hint, models: readonly OpenModel[], signal: AbortSignal): Promise<void>;
  /** Frees what it has on the adapter between hints. */
  release(): void;
}

/** A model that a worker has open. */
export interface OpenModel {
  readonly served: Pick<WorkerModel, "name" | "stored">;
  readonly model: CogVideoX;
}

export interface WorkerOptions {
  /** What it is called: of all workers, running and gone, no two are called the same. */
  readonly id: string;
  readonly models: readonly WorkerModel[];
  /** Of the engine: another version does not go on with its jobs. */
  readonly version: string;
  /** What it does of a job; the rest is another's. Default: all. */
  readonly stages?: readonly JobStage[];
  /** Nobody else takes a job for so long after this worker was last heard of. Default 30 s. */
  readonly leaseMs?: number;
  /** Whether a model's parts stay on the adapter between jobs. Default true. */
  readonly keep?: boolean;
  /** A preview is made at most so often; 0 makes none. Default 2 s. */
  readonly previewMs?: number;
  /** What else it does, beside jobs. */
  readonly others?: readonly OtherWork[];
  /** Told what it does. */
  readonly onNote?: (message: string) => void;
}

/** A failure that is not the job's own is tried again so often, without a step between. */
const TRIES = 3;
/** A hint of a job that this worker cannot take comes back after so long; the first one sooner. */
const LATER_MS = 2_000;
const SOON_MS = 100;
/** What steps are of a job; the rest is decoding and encoding. */
const STEPS_PERCENT = 95;
/** Frames that are read of a video to begin from. */
const MOST_FRAMES = 1024;

interface Open extends OpenModel {
  readonly served: WorkerModel;
  model: CogVideoX;
  keep: boolean;
  readonly weights: Digests;
}

/** Works until the signal aborts, and resolves then; what it works on is given back with all that was reached. */
export async function work(store: JobStore, options: WorkerOptions, signal: AbortSignal): Promise<void> {
  await using worker = await Worker.open(store, options, signal);
  await worker.run();
}

class Worker implements AsyncDisposable {
  readonly #open = new Map<string, Open>();
  readonly #leaseMs: number;
  readonly #stages: ReadonlySet<JobStage>;
  /** Hints one after another that were of no use to this worker. */
  #useless = 0;

  private constructor(
    private readonly store: JobStore,
    private readonly options: WorkerOptions,
    private readonly signal: AbortSignal,
  ) {
    this.#leaseMs = options.leaseMs ?? 30_000;
    this.#stages = new Set(options.stages ?? STAGES);
  }

  static async open(store: JobStore, options: WorkerOptions, signal: AbortSignal): Promise<Worker> {
    const worker = new Worker(store, options, signal);
    try {
      for (const served of options.models) {
        const keep = options.keep ?? true;
        const model = await served.open(keep);
        worker.#open.set(served.name, { served, model, keep, weights: {} });
        const weights = await weightsDigests(model.checkpoint, worker.#stages, served.stored ?? model.dtype, signal);
        worker.#open.set(served.name, { served, model, keep, weights });
      }
      return worker;
    } catch (error) {
      await worker[Symbol.asyncDispose]();
      throw error;
    }
  }

  async run(): Promise<void> {
    const { store, signal } = this;
    let announced = this.#announce();
    await announced;
    const timer = setInterval(() => {
      announced = announced.then(() => this.#announce());
    }, this.#leaseMs / 3);
    const sweeping = this.#sweep();
    try {
      while (!signal.aborted) await this.#take(await store.backend.hints.pull(signal));
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      clearInterval(timer);
      await sweeping;
      await announced; // or it would be there again
      await leave(store.backend.values, this.options.id).catch(() => undefined);
    }
  }

  /** What hints forgot is found now and then; also what died with this worker's predecessor, at once. */
  async #sweep(): Promise<void> {
    while (!this.signal.aborted) {
      await this.store.sweep().catch((error: Error) => this.#note(`The queue could not be swept: ${error.message}`));
      // Many workers do not sweep all at once.
      await pause(this.#leaseMs * (0.75 + Math.random() / 2), this.signal).catch(() => undefined);
    }
  }

  async #announce(): Promise<void> {
    const models = [...this.#open.values()].map(({ served, model, weights }) => ({
      name: served.name,
      weights,
      dtype: served.stored ?? model.dtype,
      settings: model.defaults,
      takes: model.rules.takes,
    }));
    const { gpu } = [...this.#open.values()][0]!.model;
    const { id, version } = this.options;
    const memoryBytes = availableMemoryBytes();
    await announce(this.store.backend.values, {
      ...{
        id,
        version,
        models,
        stages: [...this.#stages],
        adapter: gpu.name,
        kind: gpu.caps.kind,
        at: Date.now(),
        everyMs: this.#leaseMs / 3,
      },
      ...(memoryBytes === undefined ? {} : { memoryBytes }),
    }).catch((error: Error) => this.#note(`The queue could not be told of this worker: ${error.message}`));
  }

  #note(message: string): void {
    this.options.onNote?.(message);
  }

  async #take(hint: Hint): Promise<void> {
    const { store, options, signal } = this;
    const other = options.others?.find(({ prefix }) => hint.job.startsWith(prefix));
    if (other) return await this.#takeOther(other, hint);
    const job = await store.get(hint.job).catch(() => undefined);
    if (!job || isOver(job)) return await hint.done();
    const open = this.#open.get(job.request.model);
    if (!open || !canTake(this.#stages, job)) return await this.#leave(hint);
    const holder: Holder = { worker: options.id, weights: open.weights, version: options.version, leaseMs: this.#leaseMs };
    const lease = await LeasedJob.take(store, job.id, holder, { signal, onRenewed: () => hint.working() });
    if (lease === "over") return await hint.done();
    if (lease === "begun elsewhere") return await this.#leave(hint);
    if (!(lease instanceof LeasedJob)) return await hint.release(lease.heldMs + 50);
    this.#useless = 0;
    await using held = lease;
    for (const other of this.#open.values()) if (other !== open) other.model.release();
    for (const other of options.others ?? []) other.release();
    const began = performance.now();
    try {
      const end = await new JobRun(store, open.model, held, options, this.#stages).run(goesOn(job, holder));
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      if (end === "completed") await hint.done();
      else await this.#giveBack(held, hint, 0);
      this.#note(`${job.id}: ${end === "completed" ? "done" : `handed on for ${nextStage(held.job)}`} in ${seconds} s`);
    } catch (error) {
      await this.#failed(error, held, hint, open);
    }
  }

  async #takeOther(other: OtherWork, hint: Hint): Promise<void> {
    const open = [...this.#open.values()];
    // Parts that are kept between jobs make room.
    for (const { model } of open) model.release();
    await other.take(hint, open, this.signal).catch((error: unknown) => {
      if (!this.signal.aborted) this.#note(`${hint.job}: ${error instanceof Error ? error.message : String(error)}`);
    });
  }

  /** A hint that others may use: soon, unless many such came one after another. */
  async #leave(hint: Hint): Promise<void> {
    await hint.release(Math.min(LATER_MS, SOON_MS * 1.5 ** this.#useless++));
  }

  /** What becomes of a job that ended without a result. */
  async #failed(error: unknown, lease: LeasedJob, hint: Hint, open: Open): Promise<void> {
    const { id, fruitless = 0 } = lease.job;
    const lost = causeOf(error, LeaseLost) ?? (lease.signal.reason instanceof LeaseLost ? lease.signal.reason : undefined);
    if (lost) {
      this.#note(lost.message);
      if (!lost.job) await this.store.deleteBlobs(id);
      return await (lost.job && !isOver(lost.job) ? hint.release(LATER_MS) : hint.done());
    }
    if (this.signal.aborted) return await this.#giveBack(lease, hint, 0);
    const failure = failureOf(error);
    if (failure.code === "out_of_memory" && open.keep) {
      this.#note(`${id}: ${failure.message}; from now on no model's parts are kept between jobs`);
      open.keep = false;
      await open.model[Symbol.asyncDispose]();
      open.model = await open.served.open(false);
      return await this.#giveBack(lease, hint, 0);
    }
    if (failure.code === "failed" && fruitless < TRIES) {
      this.#note(`${id}: ${failure.message}; it is tried again`);
      return await this.#giveBack(lease, hint, 1000);
    }
    this.#note(`${id}: ${failure.message}`);
    await this.#settle(lease, (job) => failedJob(job, failure));
    for (const name of [embedsBlob(id), stateBlob(id)]) await this.store.backend.blobs.delete(name);
    await hint.done();
  }

  async #giveBack(lease: LeasedJob, hint: Hint, delayMs: number): Promise<void> {
    await this.#settle(lease, ({ lease: _, secondsLeft: __, ...job }) => ({ ...job, status: "queued" }));
    await hint.release(delayMs);
  }

  /** The last word on a job; that it is another's by now is no failure. */
  async #settle(lease: LeasedJob, change: (job: Job) => Job): Promise<void> {
    await lease.update(change).catch((error: unknown) => {
      if (!(error instanceof LeaseLost)) throw error;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { model } of this.#open.values()) await model[Symbol.asyncDispose]();
  }
}

/** One job's way from its request, or from what was reached, to its result. */
class JobRun {
  readonly #previewMs: number;
  #previewed = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly store: JobStore,
    private readonly model: CogVideoX,
    private readonly lease: LeasedJob,
    private readonly options: WorkerOptions,
    private readonly stages: ReadonlySet<JobStage>,
  ) {
    // Previews are made with the VAE.
    this.#previewMs = stages.has("decode") ? (options.previewMs ?? 2_000) : 0;
  }

  /** All that this worker does of it: until it is over, or the next stage is another's. */
  async run(goesOn: boolean): Promise<"completed" | "handed on"> {
    const { signal } = this.lease;
    const saved = goesOn ? await this.#saved() : undefined;
    const { id, steps } = this.lease.job;
    const step = saved?.state.step ?? 0;
    const embeds = goesOn && this.lease.job.encoded && !(step > 0 && step === steps) ? await this.#embeds() : undefined;
    // What is reached is what is there: where blobs were lost the stage before is done again.
    const job = await this.lease.update((one) => ({
      ...one,
      step,
      encoded: embeds !== undefined || (one.encoded === true && step > 0 && step === steps),
    }));
    if (!canTake(this.stages, job)) return "handed on";
    this.options.onNote?.(`${id}: ${saved ? `goes on from step ${step} of ${steps}` : embeds ? "goes on from its prompt" : "begins"}`);
    const asked = await invalid(askedOf(job.request, this.#blobs, saved, { signal, most: MOST_FRAMES }), signal);
    if (nextStage(job) === "text" && !canDenoise(this.stages, job)) {
      await this.#encode({ ...asked.options, signal });
      return "handed on";
    }
    const latentsOnly = !this.stages.has("decode");
    let saving: Promise<void> = Promise.resolve();
    const options = {
      ...asked.options,
      share: { latentsOnly, ...defined({ promptEmbeds: embeds, sample: job.request.sample }) },
      ...{ preview: this.#previewMs > 0, signal },
      // A step may not end before the one before it is saved: no more than one is ever lost.
      onStep: () => saving,
    };
    const request = await invalid(this.model.prepare(options), signal);
    const generation = this.model.generate(request);
    for await (const step of generation) {
      saving = this.#save(request, step);
      await saving;
    }
    const video = await generation;
    if (latentsOnly) return "handed on";
    await this.#finish(video, asked);
    return "completed";
  }

  /** The prompt's embeddings, for whoever denoises. */
  async #encode(options: GenerateOptions): Promise<void> {
    const embeds = await this.model.encodePrompt(options);
    await this.#blobs.put(embedsBlob(this.lease.job.id), writeEmbeds(embeds));
    await this.lease.update((job) => ({ ...job, encoded: true }));
  }

  async #embeds(): Promise<Float32Array | undefined> {
    const bytes = await this.#blobs.get(embedsBlob(this.lease.job.id));
    return bytes && (await readEmbeds(bytes));
  }

  get #blobs() {
    return this.store.backend.blobs;
  }

  /** What a worker before this one reached. One that cannot be read is done without. */
  async #saved(): Promise<SavedRun | undefined> {
    const name = stateBlob(this.lease.job.id);
    const bytes = await this.#blobs.get(name);
    return bytes && (await readLatents(bytes, name).catch(() => undefined));
  }

  async #save(request: GenerationRequest, reached: GenerationStep): Promise<void> {
    const { step, steps, secondsLeft } = reached;
    const { id } = this.lease.job;
    await this.#blobs.put(stateBlob(id), writeLatents(savedRun(this.model, request, reached.state)));
    const now = performance.now();
    if (this.#previewMs > 0 && now - this.#previewed >= this.#previewMs) {
      this.#previewed = now;
      const frames = reached.preview();
      if (frames.length) await this.#blobs.put(outputBlob(id, "preview"), await sheet(frames));
    }
    const progress = Math.floor((STEPS_PERCENT * step) / steps);
    await this.lease.update((job) => ({ ...job, step, steps, progress, secondsLeft: Math.round(secondsLeft), fruitless: 0 }));
  }

  async #finish(video: Video, { before }: AskedJob): Promise<void> {
    const { signal, job } = this.lease;
    const { id } = job;
    const { width, height, fps } = video.settings;
    const frames: readonly Frame[] = before.length
      ? [...before.map((frame) => fitFrame(frame, { width, height })), ...video.frames.slice(1)]
      : video.frames;
    const bytes = await encodeVideo(frames, { format: "mp4", fps, made: video.made, signal });
    const digest = await sha256(bytes);
    // Named by its content: a worker that was thought dead and comes back writes nothing over what was delivered.
    const blob = `${outputBlob(id, "video")}-${digest.slice(0, 16)}`;
    await Promise.all([
      this.#blobs.put(blob, bytes),
      this.#blobs.put(outputBlob(id, "thumbnail"), await thumbnail(frames)),
      this.#blobs.put(outputBlob(id, "spritesheet"), await sheet(frames)),
    ]);
    signal.throwIfAborted();
    const output = { blob, type: "video/mp4", bytes: bytes.length, digest };
    try {
      await this.lease.update(({ lease: _, secondsLeft: __, ...rest }) => ({
        ...rest,
        ...{ status: "completed", progress: 100, completedAt: Date.now(), output },
      }));
    } catch (error) {
      if (error instanceof LeaseLost && error.job?.output?.blob !== blob) await this.#blobs.delete(blob);
      throw error;
    }
    for (const name of [embedsBlob(id), stateBlob(id), outputBlob(id, "preview")]) await this.#blobs.delete(name);
  }
}

/** The request cannot be served by this model, on this adapter. */
class InvalidRequest extends Error {}

/** What is found out before anything is computed is the request's fault. */
async function invalid<T>(checked: Promise<T>, signal: AbortSignal): Promise<T> {
  return await checked.catch((error: unknown) => {
    if (signal.aborted || !(error instanceof CogwheelError)) throw error;
    throw new InvalidRequest(error.message, { cause: error });
  });
}

function failureOf(error: unknown): JobError {
  const message = error instanceof Error ? error.message : String(error);
  if (causeOf(error, InvalidRequest)) return { code: "invalid_request", message };
  return { code: causeOf(error, OutOfMemory) ? "out_of_memory" : "failed", message };
}
