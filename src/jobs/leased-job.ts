/** A worker's hold on a job: taken by compare-and-set, renewed while the work goes on, and lost when another has it. */
import { linkedAbort } from "../base/linked-abort.ts";
import { CogwheelError } from "../base/errors.ts";
import { QueueUnusable, type Sync } from "./backend.ts";
import type { Job } from "./job.ts";
import { isAlike, isBegun, type Digests } from "./stages.ts";
import { failedJob, isOver, type JobStore, type StoredJob } from "./store.ts";

/** The job is another's now, or over: cancelled, deleted. */
export class LeaseLost extends CogwheelError {
  constructor(
    id: string,
    /** As it is now; undefined where it was deleted. */
    readonly job: Job | undefined,
  ) {
    super(
      "jobs",
      `a worker must have the lease of the job that it works on, got ${id}, which ` +
        `${job ? (isOver(job) ? `is ${job.error?.code ?? job.status}` : `worker ${job.lease?.worker ?? "none"} has`) : "was deleted"}; ` +
        "the work on it stops here",
    );
  }
}

/** Who takes it, and with what. */
export interface Holder {
  readonly worker: string;
  /** Digests of its weights. */
  readonly weights: Digests;
  readonly version: string;
  readonly leaseMs: number;
}

/** May a worker go on with what was reached? A state of other weights, or of another version, is none to go on from. */
export const goesOn = ({ weights, version }: Job, holder: Pick<Holder, "weights" | "version">): boolean =>
  weights !== undefined && version === holder.version && isAlike(weights, holder.weights);

/** A job that began this often without one step done takes its workers down: it is failed. */
export const MOST_FRUITLESS = 8;

/** Why a job is not taken: it is over or gone; another has it for so long; it was begun with other weights or by another version. */
export type NotTaken = "over" | "begun elsewhere" | { readonly heldMs: number };

/** How far a job is stands in its saved state too, and no lease outlives a loss of power: its end alone is promised to be there then. */
const syncOf = (job: Job): Sync => (isOver(job) ? "synced" : "ordered");

export class LeasedJob implements AsyncDisposable {
  readonly #controller: AbortController & Disposable;
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #watch = new AbortController();
  #job: Job;
  #revision: number;
  /** Changes follow each other: each goes by the revision of the one before. */
  #turn: Promise<unknown> = Promise.resolve();
  #ended = false;

  private constructor(
    private readonly store: JobStore,
    job: Job,
    revision: number,
    private readonly holder: Holder,
    outer: AbortSignal,
    private readonly onRenewed: () => Promise<void>,
  ) {
    this.#job = job;
    this.#revision = revision;
    this.#controller = linkedAbort(outer);
    this.#timer = setInterval(() => void this.#renew(), holder.leaseMs / 3);
    void this.#listen();
  }

  /** @param read as it was a moment ago @param onRenewed called when the lease was renewed @param signal ends the work for another reason */
  static async take(
    store: JobStore,
    read: StoredJob,
    holder: Holder,
    { signal, onRenewed }: { signal: AbortSignal; onRenewed: () => Promise<void> },
  ): Promise<LeasedJob | NotTaken> {
    for (let found: StoredJob | undefined = read; ; found = await store.read(read.job.id)) {
      if (!found || isOver(found.job)) return "over";
      const { job, revision } = found;
      const now = Date.now();
      if (job.lease && job.lease.until > now && job.lease.worker !== holder.worker) return { heldMs: job.lease.until - now };
      const same = goesOn(job, holder);
      if (isBegun(job) && !same) return "begun elsewhere";
      const { worker, weights, version, leaseMs } = holder;
      const fruitless = (job.fruitless ?? 0) + 1;
      const next: Job =
        fruitless > MOST_FRUITLESS
          ? failedJob(job, { code: "failed", message: `${MOST_FRUITLESS} workers began the job, and none of them came a step further.` })
          : {
              ...job,
              status: "in_progress",
              startedAt: job.startedAt ?? now,
              attempts: job.attempts + 1,
              fruitless,
              lease: { worker, until: now + leaseMs },
              ...{ weights: same ? { ...job.weights, ...weights } : weights, version },
            };
      const taken = await store.replace(next, revision, syncOf(next));
      if (taken === undefined) continue;
      if (isOver(next)) return "over";
      return new LeasedJob(store, next, taken, holder, signal, onRenewed);
    }
  }

  /** The job as this worker wrote it last. */
  get job(): Job {
    return this.#job;
  }

  /** Aborts with a LeaseLost, with a QueueUnusable where it could not be renewed in time, or with the reason of the outer signal. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Changes the job, and renews the lease; a job that is over afterwards has none. Throws LeaseLost where it is this worker's no more. */
  async update(change: (job: Job) => Job): Promise<Job> {
    const mine = this.#turn.then(() => this.#update(change));
    this.#turn = mine.catch(() => undefined);
    return await mine;
  }

  async #update(change: (job: Job) => Job): Promise<Job> {
    for (;;) {
      const changed = change(this.#job);
      const { worker, leaseMs } = this.holder;
      const next = changed.lease === undefined ? changed : { ...changed, lease: { worker, until: Date.now() + leaseMs } };
      // Whoever watches may hear of the end before this does.
      this.#ended = isOver(next);
      const revision = await this.store.replace(next, this.#revision, syncOf(next));
      if (revision !== undefined) {
        this.#job = next;
        this.#revision = revision;
        return next;
      }
      this.#ended = false;
      const found = await this.store.read(this.#job.id);
      this.#expectMine(found?.job);
      this.#job = found!.job;
      this.#revision = found!.revision;
    }
  }

  #expectMine(job: Job | undefined): void {
    if (job && !isOver(job) && job.lease?.worker === this.holder.worker) return;
    const lost = new LeaseLost(this.#job.id, job);
    this.#controller.abort(lost);
    throw lost;
  }

  async #renew(): Promise<void> {
    try {
      await this.update((job) => job);
      await this.onRenewed();
    } catch (error) {
      // A store that cannot be reached for a moment is no loss, as long as nobody else may have the job.
      if (!(error instanceof LeaseLost) && Date.now() < (this.#job.lease?.until ?? 0)) return;
      const told = error instanceof LeaseLost || error instanceof QueueUnusable;
      this.#controller.abort(told ? error : new LeaseLost(this.#job.id, this.#job));
    }
  }

  /** A job that is cancelled or deleted is heard of at once. */
  async #listen(): Promise<void> {
    try {
      for await (const job of this.store.follow(this.#job.id, this.#watch.signal)) if (!this.#ended) this.#expectMine(job);
    } catch {
      // Renewals find it too.
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true;
    clearInterval(this.#timer);
    this.#watch.abort();
    await this.#turn;
    this.#controller[Symbol.dispose]();
  }
}
