/**
 * A worker: takes jobs one after another and makes their videos. What it has reached is saved after every step, so that another goes on
 * from there when it is killed; what it says of a job is written by compare-and-set under its lease, so that a worker that was thought
 * dead and comes back writes nothing.
 */
import { availableMemoryBytes } from "#platform";
import { causeOf } from "../base/cause.ts";
import { linkedAbort } from "../base/linked-abort.ts";
import { pause } from "../base/pause.ts";
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import { defined } from "../pipelines/options.ts";
import { type Hint, QueueUnusable } from "./backend.ts";
import { embedsBlob, stateBlob, type Job } from "./job.ts";
import { failureOf, JobRun, type JobRunOptions } from "./job-run.ts";
import { goesOn, LeasedJob, LeaseLost, type Holder } from "./leased-job.ts";
import { axisOf } from "./clip.ts";
import { helpWithClip, helpWithSteps } from "./help.ts";
import { partnerHintOf } from "./partner.ts";
import type { OpenModel, OtherWork, WorkerModel } from "./other-work.ts";
import { noRoom, questions, type Room, roomBytes, videoSeconds, sizeKey, type JobSize } from "./room.ts";
import { failedJob, isOver, type JobStore } from "./store.ts";
import { canDenoise, canTake, nextStage, STAGES, type Digests, type JobStage } from "./stages.ts";
import { weightsDigests } from "./weights-digest.ts";
import type { TraceSpan, Tracing } from "./tracing.ts";
import { QueueTrouble } from "./trouble.ts";
import { waitsFor } from "./waiting.ts";
import { announce, leave, livingWorkers } from "./workers.ts";

export interface WorkerOptions extends JobRunOptions {
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
  /** Bytes of the adapter's memory that its models were opened with as their limit. */
  readonly memoryBytes?: number;
  /** Where the spans of its jobs go. */
  readonly tracing?: Tracing;
  /** What else it does, beside jobs. */
  readonly others?: readonly OtherWork[];
}

/** A failure that is not the job's own is tried again so often, without a step between. */
const TRIES = 3;
/** A hint of a job that this worker cannot take comes back after so long; the first one sooner. */
const LATER_MS = 2_000;
const SOON_MS = 100;

/** What a worker told of sizes of jobs that it was asked for. */
const MOST_SIZES = 100;
/** A job that ran out of memory here, against its plan, may find more of it so much later. */
const AGAIN_MS = 600_000;

/** A job that cannot be read is as none. */
function damaged(error: unknown): undefined {
  if (error instanceof QueueUnusable) throw error;
}

interface Open extends OpenModel {
  readonly served: WorkerModel;
  model: CogVideoX;
  keep: boolean;
  readonly weights: Digests;
  /** Of a video at the model's own settings. */
  readonly seconds?: number;
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
  /** Why there is no room for jobs of a size, by its key; null where there is. */
  readonly #room = new Map<string, { readonly why: string | null; readonly until: number }>();
  /** The most memory of the machine that was free: before anything was loaded. */
  #free = availableMemoryBytes();
  #announced: Promise<void> = Promise.resolve();
  readonly #trouble: QueueTrouble;

  private constructor(
    private readonly store: JobStore,
    private readonly options: WorkerOptions,
    private readonly signal: AbortSignal,
  ) {
    this.#leaseMs = options.leaseMs ?? 30_000;
    this.#stages = new Set(options.stages ?? STAGES);
    this.#trouble = new QueueTrouble(store.backend, options.id, this.#leaseMs, (message) => this.#note(message));
  }

  static async open(store: JobStore, options: WorkerOptions, signal: AbortSignal): Promise<Worker> {
    const worker = new Worker(store, options, signal);
    try {
      for (const served of options.models) {
        const keep = options.keep ?? true;
        const model = await served.open(keep);
        worker.#open.set(served.name, { served, model, keep, weights: {} });
        const weights = await weightsDigests(model.checkpoint, worker.#stages, served.stored ?? model.dtype, signal);
        const seconds = videoSeconds(model, worker.#stages);
        worker.#open.set(served.name, { served, model, keep, weights, ...defined({ seconds }) });
      }
      return worker;
    } catch (error) {
      await worker[Symbol.asyncDispose]();
      throw error;
    }
  }

  async run(): Promise<void> {
    const { store, signal } = this;
    using ended = linkedAbort(signal);
    const answering = this.#answer(ended.signal);
    await this.#announce();
    const timer = setInterval(() => void this.#announce(), this.#leaseMs / 3);
    await this.#trouble.checkClock();
    const sweeping = this.#sweep(ended.signal);
    try {
      while (!signal.aborted) {
        await this.#trouble.over(signal);
        await this.#next();
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      clearInterval(timer);
      ended.abort();
      await Promise.all([sweeping, answering]);
      await this.#announced; // or it would be there again
      await leave(store.backend.values, this.options.id).catch(() => undefined);
    }
  }

  /** The next job, if the queue can be used. */
  async #next(): Promise<void> {
    let hint: Hint | undefined;
    try {
      hint = await this.store.backend.hints.pull(this.signal);
      await this.#take(hint);
    } catch (error) {
      const unusable = causeOf(error, QueueUnusable);
      if (!unusable || this.signal.aborted) throw error;
      this.#trouble.tell(unusable.message);
      await hint?.release(LATER_MS).catch(() => undefined);
    }
  }

  /** What hints forgot is found now and then; also what died with this worker's predecessor, at once. */
  async #sweep(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.store.sweep().catch((error: Error) => {
        // What is told already need not be told with every sweep.
        if (!this.#trouble.is) this.#note(`The queue could not be swept: ${error.message}`);
      });
      // Many workers do not sweep all at once.
      await pause(this.#leaseMs * (0.75 + Math.random() / 2), signal).catch(() => undefined);
      if (!signal.aborted) await this.#trouble.checkClock();
    }
  }

  /** Tells whoever asks whether there is room for jobs of a size. */
  async #answer(signal: AbortSignal): Promise<void> {
    while (!signal.aborted)
      try {
        for await (const size of questions(this.store.backend.values, signal))
          if (this.#open.has(size.model)) {
            this.#whyNoRoom(size);
            await this.#announce();
          }
      } catch {
        // The store is not there for a moment.
        await pause(1000, signal).catch(() => undefined);
      }
  }

  get #has(): Room {
    return { limit: this.options.memoryBytes, free: this.#free };
  }

  /** By the plan, unless a job of this size has run out of memory here lately. */
  #whyNoRoom(size: JobSize): string | undefined {
    const open = this.#open.get(size.model)!;
    const key = sizeKey(size);
    const known = this.#room.get(key);
    if (known && known.until > Date.now()) return known.why ?? undefined;
    const why = noRoom(open.model, size, this.#stages, this.#has) ?? null;
    this.#remember(key, why, Number.POSITIVE_INFINITY);
    return why ?? undefined;
  }

  #remember(size: string, why: string | null, until: number): void {
    this.#room.delete(size);
    if (this.#room.size >= MOST_SIZES) this.#room.delete(this.#room.keys().next().value!);
    this.#room.set(size, { why, until });
  }

  /** One after another: the last word is the newest. */
  async #announce(): Promise<void> {
    this.#announced = this.#announced.then(() => this.#say());
    await this.#announced;
  }

  async #say(): Promise<void> {
    const models = [...this.#open.values()].map(({ served, model, weights, seconds }) => ({
      name: served.name,
      weights,
      dtype: served.stored ?? model.dtype,
      settings: model.defaults,
      takes: model.rules.takes,
      ...defined({ seconds }),
    }));
    // Some do other work alone, without an adapter.
    const gpu = [...this.#open.values()][0]?.model.gpu;
    const { id, version } = this.options;
    const memoryBytes = availableMemoryBytes();
    if (memoryBytes !== undefined) this.#free = Math.max(this.#free ?? 0, memoryBytes);
    const now = Date.now();
    const room = Object.fromEntries([...this.#room].flatMap(([size, { why, until }]) => (until > now ? [[size, why]] : [])));
    await announce(this.store.backend.values, {
      ...{
        id,
        version,
        models,
        stages: [...this.#stages],
        adapter: gpu?.name ?? "no adapter",
        kind: gpu?.caps.kind ?? "software",
        at: now,
        everyMs: this.#leaseMs / 3,
        room,
      },
      ...defined({ memoryBytes, limitBytes: this.options.memoryBytes }),
    }).catch((error: Error) => {
      if (!this.#trouble.is) this.#note(`The queue could not be told of this worker: ${error.message}`);
    });
  }

  #note(message: string): void {
    this.options.onNote?.(message);
  }

  async #take(hint: Hint): Promise<void> {
    const { store, options, signal } = this;
    const other = options.others?.find(({ prefix }) => hint.job.startsWith(prefix));
    if (other) return await this.#takeOther(other, hint);
    const wanted = partnerHintOf(hint.job);
    if (wanted !== undefined) return await this.#assist(wanted, hint);
    const found = await store.read(hint.job).catch(damaged);
    if (!found) return await hint.done();
    if (isOver(found.job)) return await this.#done(hint);
    const { job } = found;
    const open = this.#open.get(job.request.model);
    if (!open || !canTake(this.#stages, job)) return await this.#leave(hint);
    if (await this.#lacksRoom(job)) return await this.#leave(hint);
    const holder: Holder = { worker: options.id, weights: open.weights, version: options.version, leaseMs: this.#leaseMs };
    const lease = await LeasedJob.take(store, found, holder, { signal, onRenewed: () => hint.working() });
    if (lease === "over") return await this.#done(hint);
    if (lease === "begun elsewhere") return await this.#leave(hint);
    if (!(lease instanceof LeasedJob)) return await hint.release(lease.heldMs + 50);
    this.#useless = 0;
    await using held = lease;
    for (const other of this.#open.values()) if (other !== open) other.model.release();
    for (const other of options.others ?? []) other.release();
    const began = performance.now();
    const trace = this.#trace(job, held.job.attempts);
    try {
      const run = new JobRun(store, open.model, held, { ...options, ...defined({ trace }) }, this.#stages, holder);
      const work = () => run.run(goesOn(job, holder));
      const end = await (trace ? trace.within(work) : work());
      trace?.end();
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      if (end === "completed") await hint.done();
      else await this.#giveBack(held, hint, 0);
      this.#note(`${job.id}: ${end === "completed" ? "done" : `handed on for ${nextStage(held.job)}`} in ${seconds} s`);
    } catch (error) {
      trace?.end(error);
      await this.#failed(error, held, hint, open);
    }
  }

  /** The span of the work on a job, once that of its wait was told. */
  #trace(job: Job, attempt: number): TraceSpan | undefined {
    const { tracing, id } = this.options;
    const { trace: parent, createdAt, queuedAt = createdAt, lease, request } = job;
    const attributes = { "cogwheel.job.id": job.id, "cogwheel.job.attempt": attempt, "cogwheel.worker.id": id };
    // Of one whose worker was lost, the wait begins where that one's lease ended.
    tracing?.begin("queue wait", { parent, attributes, kind: "consumer", from: Math.max(queuedAt, lease?.until ?? 0) }).end();
    const { width, height, frames, steps } = request;
    const size = { "cogwheel.width": width, "cogwheel.height": height, "cogwheel.frames": frames, "cogwheel.steps": steps };
    const of = { "cogwheel.model": request.model, "cogwheel.kind": request.kind, ...defined(size) };
    return tracing?.begin("generate video", { parent, kind: "consumer", attributes: { ...attributes, ...of } });
  }

  async #takeOther(other: OtherWork, hint: Hint): Promise<void> {
    const open = [...this.#open.values()];
    const makeRoom = (): void => {
      for (const { model } of open) model.release();
      for (const one of this.options.others ?? []) if (one !== other) one.release();
    };
    await other.take(hint, open, this.signal, makeRoom).catch((error: unknown) => {
      if (!this.signal.aborted) this.#note(`${hint.job}: ${error instanceof Error ? error.message : String(error)}`);
    });
  }

  /** Takes a share of a job that another worker leads, a branch of guidance or a part of the VAE's clip, until that is of no more use. */
  async #assist(id: string, hint: Hint): Promise<void> {
    const { store, options } = this;
    const job = await store.get(id).catch(damaged);
    const leader = job?.lease && job.lease.until > Date.now() ? job.lease.worker : undefined;
    const clip = job && axisOf(job.request) !== undefined;
    if (!job || isOver(job) || leader === undefined || leader === options.id || !(clip || job.encoded)) return await hint.done();
    const open = this.#open.get(job.request.model);
    const holder: Holder = { worker: options.id, weights: open?.weights ?? {}, version: options.version, leaseMs: this.#leaseMs };
    const can = clip ? this.#stages.has("decode") : canDenoise(this.#stages, { ...job, step: Math.max(1, job.step) });
    if (!open || !can || !goesOn(job, holder)) return await this.#leave(hint);
    if (clip && noRoom(open.model, job.request, ["decode"], this.#has)) return await this.#leave(hint);
    this.#useless = 0;
    for (const other of this.#open.values()) if (clip || other !== open) other.model.release();
    for (const other of options.others ?? []) other.release();
    const trace = options.tracing?.begin(clip ? "share a clip" : "share steps", {
      ...{ parent: job.trace, kind: "consumer" },
      attributes: { "cogwheel.job.id": id, "cogwheel.worker.id": options.id },
    });
    try {
      const help = clip ? helpWithClip : helpWithSteps;
      const partner = { id: options.id, leaseMs: this.#leaseMs };
      const has = roomBytes(open.model, this.#has);
      await help({ store, job, leader, model: open.model, partner, roomBytes: has, signal: this.signal, onRenewed: () => hint.working() });
      trace?.end();
      this.#note(`${id}: its ${clip ? "clip was" : "steps were"} shared`);
    } catch (error) {
      trace?.end(error);
      this.#note(`${id}: no partner of its leader any more: ${(error as Error).message}`);
    }
    await hint.done();
  }

  /** A job that is too large for this worker is another's; why it waits can be seen in what this worker tells of itself. */
  async #lacksRoom({ id, request }: Job): Promise<boolean> {
    const told = this.#room.has(sizeKey(request));
    const why = this.#whyNoRoom(request);
    if (!told) {
      if (why !== undefined) this.#note(`${id}: left to others: it ${why}`);
      await this.#announce();
    }
    return why !== undefined;
  }

  /** Is there another worker that may take a job for which there is too little memory here? */
  async #othersMay({ lease: _, ...job }: Job): Promise<boolean> {
    const others = (await livingWorkers(this.store.backend.values)).filter(({ id }) => id !== this.options.id);
    return (waitsFor(job, others)?.able ?? 0) > 0;
  }

  /** A hint that others may use: soon, unless many such came one after another; not all of them at the same time. */
  async #leave(hint: Hint): Promise<void> {
    await hint.release(Math.min(LATER_MS, SOON_MS * 1.5 ** this.#useless++) * (0.5 + Math.random() / 2));
  }

  /** What becomes of a job that ended without a result. */
  async #failed(error: unknown, lease: LeasedJob, hint: Hint, open: Open): Promise<void> {
    const { id, fruitless = 0 } = lease.job;
    const lost = causeOf(error, LeaseLost) ?? (lease.signal.reason instanceof LeaseLost ? lease.signal.reason : undefined);
    if (lost) {
      this.#note(lost.message);
      if (!lost.job) await this.store.deleteBlobs(id);
      if (lost.job && isOver(lost.job)) return await this.#done(hint);
      return await (lost.job ? hint.release(LATER_MS) : hint.done());
    }
    if (this.signal.aborted) return await this.#giveBack(lease, hint, 0);
    const unusable = causeOf(error, QueueUnusable) ?? causeOf(lease.signal.reason, QueueUnusable);
    if (unusable) {
      this.#trouble.tell(`${id}: ${unusable.message}`);
      // No worker's end, and none of its tries. Where that cannot be written either, its lease runs out.
      const before = { fruitless: Math.max(0, fruitless - 1) };
      await this.#settle(lease, ({ lease: _, secondsLeft: __, ...job }) => ({
        ...job,
        ...before,
        status: "queued",
        queuedAt: Date.now(),
      })).catch(() => undefined);
      return await hint.release(LATER_MS).catch(() => undefined);
    }
    const failure = failureOf(error);
    if (failure.code === "out_of_memory" && open.keep) {
      this.#note(`${id}: ${failure.message}; from now on no model's parts are kept between jobs`);
      open.keep = false;
      await open.model[Symbol.asyncDispose]();
      open.model = await open.served.open(false);
      return await this.#giveBack(lease, hint, 0);
    }
    if (failure.code === "out_of_memory" && (await this.#othersMay(lease.job))) {
      this.#note(`${id}: ${failure.message}; it is left to others`);
      this.#remember(sizeKey(lease.job.request), "ran out of memory", Date.now() + AGAIN_MS);
      await this.#announce();
      return await this.#giveBack(lease, hint, SOON_MS);
    }
    if (failure.code === "failed" && fruitless < TRIES) {
      this.#note(`${id}: ${failure.message}; it is tried again`);
      return await this.#giveBack(lease, hint, 1000);
    }
    this.#note(`${id}: ${failure.message}`);
    await this.#settle(lease, (job) => failedJob(job, failure));
    await this.#done(hint);
  }

  /**
   * A job ended, and nobody goes on with it: what was reached is of no more use. Whoever ended it deletes that, but may be killed before;
   * and a worker that was thought dead may save a step after. Both leave the hint, to the next or to that worker.
   */
  async #done(hint: Hint): Promise<void> {
    for (const name of [embedsBlob(hint.job), stateBlob(hint.job)]) await this.store.backend.blobs.delete(name);
    await hint.done();
  }

  async #giveBack(lease: LeasedJob, hint: Hint, delayMs: number): Promise<void> {
    await this.#settle(lease, ({ lease: _, secondsLeft: __, ...job }) => ({ ...job, status: "queued", queuedAt: Date.now() }));
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
