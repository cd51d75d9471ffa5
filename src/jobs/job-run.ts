/**
 * A job's way on one worker: from its request, or from what others reached, to its result, or to where the next stage is another's. What it
 * reaches is saved after every step.
 */
import { causeOf } from "../base/cause.ts";
import { CogwheelError } from "../base/errors.ts";
import { sha256 } from "../base/sha256.ts";
import { OutOfMemory } from "../gpu/gpu.ts";
import { QueueUnusable } from "./backend.ts";
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
import { askedOf, type AskedJob } from "./inputs.ts";
import { embedsBlob, outputBlob, stateBlob, type JobError } from "./job.ts";
import { type Holder, type LeasedJob, LeaseLost } from "./leased-job.ts";
import { axisOf, ClipLead, type ClipPlan } from "./clip.ts";
import { PairLead, type PairPlan } from "./pair.ts";
import { deletePair } from "./partner.ts";
import { sheet, thumbnail } from "./pictures.ts";
import type { JobStore } from "./store.ts";
import { StageTraces, type TraceSpan } from "./tracing.ts";
import { canDenoise, canTake, nextStage, type JobStage } from "./stages.ts";

/** How jobs are worked on. */
export interface JobRunOptions {
  /** A preview is made at most so often; 0 makes none. Default 2 s. */
  readonly previewMs?: number;
  /** Whether steps are shared with a partner, by the plan of it. Default: where that is faster than alone. */
  readonly sharesSteps?: (plan: PairPlan) => boolean;
  /** The same of the VAE's work. Default: unless it is known that one worker is faster. */
  readonly sharesClips?: (plan: ClipPlan) => boolean;
  /** The span of the work, which its stages' are below. */
  readonly trace?: TraceSpan;
  /** Told what it does. */
  readonly onNote?: (message: string) => void;
}

/** What steps are of a job; the rest is decoding and encoding. */
const STEPS_PERCENT = 95;
/** Frames that are read of a video to begin from. */
const MOST_FRAMES = 1024;

/** One job's way from its request, or from what was reached, to its result. */
export class JobRun {
  readonly #previewMs: number;
  #previewed = Number.NEGATIVE_INFINITY;
  readonly #stageTraces: StageTraces | undefined;
  /** Where another worker may share the steps. */
  #lead: PairLead | undefined;
  #clips: ClipLead | undefined;

  constructor(
    private readonly store: JobStore,
    private readonly model: CogVideoX,
    private readonly lease: LeasedJob,
    private readonly options: JobRunOptions,
    private readonly stages: ReadonlySet<JobStage>,
    private readonly worker: Pick<Holder, "worker" | "leaseMs">,
  ) {
    // Previews are made with the VAE.
    this.#previewMs = stages.has("decode") ? (options.previewMs ?? 2_000) : 0;
    this.#stageTraces = options.trace && new StageTraces(options.trace);
  }

  /** All that this worker does of it: until it is over, or the next stage is another's. */
  async run(goesOn: boolean): Promise<"completed" | "handed on"> {
    return await this.#run(goesOn).catch((error: unknown) => {
      this.#stageTraces?.end(error);
      throw error;
    });
  }

  async #run(goesOn: boolean): Promise<"completed" | "handed on"> {
    const { signal } = this.lease;
    const saved = goesOn ? await this.#saved() : undefined;
    const { id, steps, encoded: wasEncoded = false } = this.lease.job;
    const step = saved?.state.step ?? 0;
    const denoised = step > 0 && step === steps;
    let embeds = goesOn && wasEncoded && !denoised ? await this.#embeds() : undefined;
    // What is reached is what is there: where blobs were lost the stage before is done again.
    const encoded = embeds !== undefined || (wasEncoded && denoised);
    const asTold = step === this.lease.job.step && encoded === wasEncoded;
    const job = asTold ? this.lease.job : await this.lease.update((one) => ({ ...one, step, encoded }));
    if (!canTake(this.stages, job)) return "handed on";
    this.options.onNote?.(`${id}: ${saved ? `goes on from step ${step} of ${steps}` : embeds ? "goes on from its prompt" : "begins"}`);
    const asked = await invalid(askedOf(job.request, this.#blobs, saved, { signal, most: MOST_FRAMES }), signal);
    const heard = this.#stageTraces ? { onProgress: this.#stageTraces.hear } : {};
    const split = job.request.split === "guidance";
    if (nextStage(job) === "text" && (split || !canDenoise(this.stages, job))) {
      embeds = await this.#encode({ ...asked.options, ...heard, signal });
      if (!canDenoise(this.stages, this.lease.job)) return "handed on";
    }
    const { onNote = () => undefined, sharesSteps = ({ pays }) => pays, sharesClips = ({ pays }) => pays !== false } = this.options;
    if (split) this.#lead = new PairLead(this.store.backend, job, this.worker.leaseMs, signal, sharesSteps, onNote);
    await using _lead = this.#lead;
    const axis = axisOf(job.request);
    let planned: GenerationRequest | undefined;
    if (axis)
      this.#clips = new ClipLead(this.store.backend, job, axis, {
        ...{ ...this.worker, signal, takes: sharesClips, onNote },
        aloneSeconds: (part) => planned?.requirements.find(({ stage }) => stage === `${part}r`)?.seconds,
      });
    const latentsOnly = !this.stages.has("decode");
    let saving: Promise<void> = Promise.resolve();
    const options = {
      ...asked.options,
      share: { latentsOnly, ...defined({ promptEmbeds: embeds, sample: job.request.sample, partner: this.#lead, clips: this.#clips }) },
      ...{ preview: this.#previewMs > 0, ...heard, signal },
      // A step may not end before the one before it is saved: no more than one is ever lost.
      onStep: () => saving,
    };
    const request = await invalid(this.model.prepare(options), signal);
    planned = request;
    const generation = this.model.generate(request);
    for await (const step of generation) {
      this.#stageTraces?.step(step.step);
      saving = this.#save(request, step);
      await saving;
    }
    const video = await generation;
    if (latentsOnly) return "handed on";
    await this.#finish(video, asked);
    return "completed";
  }

  /** The prompt's embeddings, for whoever denoises. */
  async #encode(options: GenerateOptions): Promise<Float32Array> {
    const embeds = await this.model.encodePrompt(options);
    await this.#blobs.put(embedsBlob(this.lease.job.id), writeEmbeds(embeds));
    await this.lease.update((job) => ({ ...job, encoded: true }));
    return embeds;
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
    await this.#blobs.put(stateBlob(id), writeLatents(savedRun(this.model, request, reached.state)), "ordered");
    const now = performance.now();
    if (this.#previewMs > 0 && now - this.#previewed >= this.#previewMs) {
      this.#previewed = now;
      const frames = reached.preview();
      if (frames.length) await this.#blobs.put(outputBlob(id, "preview"), await sheet(frames), "ordered");
    }
    const shared = defined({ shared: this.#lead?.report });
    if (step === steps && this.stages.has("decode")) await this.#clips?.call();
    const progress = Math.floor((STEPS_PERCENT * step) / steps);
    await this.lease.update((job) => ({ ...job, step, steps, progress, secondsLeft: Math.round(secondsLeft), fruitless: 0, ...shared }));
  }

  async #finish(video: Video, { before }: AskedJob): Promise<void> {
    const { signal, job } = this.lease;
    const { id } = job;
    const { width, height, fps } = video.settings;
    const frames: readonly Frame[] = before.length
      ? [...before.map((frame) => fitFrame(frame, { width, height })), ...video.frames.slice(1)]
      : video.frames;
    const encode = () => encodeVideo(frames, { format: "mp4", fps, made: video.made, signal });
    const { trace } = this.options;
    const bytes = await (trace ? trace.during("encode file", encode) : encode());
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
        ...(this.#clips?.reports.length ? { sharedClips: this.#clips.reports } : {}),
      }));
    } catch (error) {
      if (error instanceof LeaseLost && error.job?.output?.blob !== blob) await this.#blobs.delete(blob);
      throw error;
    }
    await Promise.all([embedsBlob(id), stateBlob(id), outputBlob(id, "preview")].map((name) => this.#blobs.delete(name)));
    if (this.#lead || this.#clips) await deletePair(this.store.backend, job);
  }
}

/** The request cannot be served by this model, on this adapter. */
class InvalidRequest extends Error {}

/** What is found out before anything is computed is the request's fault. */
async function invalid<T>(checked: Promise<T>, signal: AbortSignal): Promise<T> {
  return await checked.catch((error: unknown) => {
    // Memory is the worker's: another may have more. The store is nobody's fault.
    if (signal.aborted || !(error instanceof CogwheelError) || error.code === "out-of-memory" || error instanceof QueueUnusable)
      throw error;
    throw new InvalidRequest(error.message, { cause: error });
  });
}

/** What is told of a job that failed by this. */
export function failureOf(error: unknown): JobError {
  const message = error instanceof Error ? error.message : String(error);
  if (causeOf(error, InvalidRequest)) return { code: "invalid_request", message };
  const short = causeOf(error, OutOfMemory) ?? (error instanceof CogwheelError && error.code === "out-of-memory");
  return { code: short ? "out_of_memory" : "failed", message };
}
