/**
 * Two workers on the steps of one job, each with a branch of guidance. The one that has the job's lease leads: it hints that a partner is
 * wanted, takes one in between two steps where that pays, and goes on alone when none is heard of any more. Who joins it computes the other
 * branch from the same state to the same next one, so that either could go on. They exchange one prediction each way a step.
 */
import { linkedAbort } from "../base/linked-abort.ts";
import { pause } from "../base/pause.ts";
import type { Branch, Partner } from "../models/cogvideox/branches.ts";
import type { DenoiseState } from "../models/cogvideox/model.ts";
import type { JobBackend } from "./backend.ts";
import type { Job, SharedSteps } from "./job.ts";
import { readRecord, replaceRecord, type Stored, writeRecord } from "./records.ts";
import { deleteExchange, StorePeer } from "./store-peer.ts";

/** The value under `pair.JOB`: who helps, until when it counts as there, and from which step on. */
export interface PairRecord {
  readonly worker: string;
  readonly until: number;
  /** Of the leader's try at the job. */
  readonly attempt: number;
  /** Is everything loaded? */
  readonly ready: boolean;
  /** The leader says from which step on they share the work. */
  readonly from?: number;
}

/** What sharing the steps is planned to take. */
export interface PairPlan {
  /** Each way a step. */
  readonly bytes: number;
  /** Of a step alone, of an exchange, of a step together. */
  readonly aloneSeconds: number;
  readonly exchangeSeconds: number;
  readonly seconds: number;
  readonly waitingShare: number;
  readonly pays: boolean;
}

/** @param exchangeSeconds to give a prediction of so many bytes and take another, as measured */
export function planPair(bytes: number, aloneSeconds: number, exchangeSeconds: number): PairPlan {
  const seconds = aloneSeconds / 2 + exchangeSeconds;
  return { bytes, aloneSeconds, exchangeSeconds, seconds, waitingShare: exchangeSeconds / seconds, pays: seconds < aloneSeconds };
}

const PARTNER = "partner.";
/** The hint that a job's leader wants a partner, and the job that such a hint is of. */
export const partnerHint = (id: string): string => PARTNER + id;
export const partnerHintOf = (hint: string): string | undefined => (hint.startsWith(PARTNER) ? hint.slice(PARTNER.length) : undefined);

export const pairKey = (id: string): string => `pair.${id}`;
export const exchangeOf = (id: string): string => `exchange.${id}`;

const [LEADER, OTHER] = [1, 0] as const satisfies readonly Branch[];
/** A hint that nobody followed is given again after so long. */
const HINT_MS = 5_000;

const regionOf = (attempt: number, step: number): string => `${attempt} ${step}`;
const bytesOf = (values: Float32Array): Uint8Array<ArrayBuffer> => new Uint8Array(values.slice().buffer);
const floatsOf = (bytes: Uint8Array): Float32Array => new Float32Array(bytes.slice().buffer);

type Values = Pick<JobBackend, "values">;
export const readPair = ({ values }: Values, id: string): Promise<Stored<PairRecord> | undefined> =>
  readRecord<PairRecord>(values, pairKey(id));
const writePair = ({ values }: Values, id: string, record: PairRecord, revision: number): Promise<number | undefined> =>
  writeRecord(values, pairKey(id), record, revision);

/** Deletes what a pair left. */
export async function deletePair(backend: Pick<JobBackend, "values" | "blobs">, id: string): Promise<void> {
  const found = await backend.values.get(pairKey(id));
  if (found) await backend.values.delete(pairKey(id), found.revision);
  await deleteExchange(backend, exchangeOf(id));
}

/** Thrown by a partner's work when it is of no more use: the leader is done, gone, or goes on alone. */
export class PairEnded extends Error {}

/** The leader's side. */
export class PairLead implements Partner {
  readonly #peer: StorePeer;
  #joined: string | undefined;
  #began = performance.now();
  #hinted = Number.NEGATIVE_INFINITY;
  /** Seconds of the last step alone; of an exchange as measured. */
  #alone: number | undefined;
  #exchange: number | undefined;
  #refused = false;
  #report: SharedSteps = { steps: 0, bytes: 0, seconds: 0, waitingSeconds: 0 };

  constructor(
    private readonly backend: JobBackend,
    private readonly job: Pick<Job, "id" | "attempts">,
    private readonly leaseMs: number,
    private readonly signal: AbortSignal,
    private readonly takes: (plan: PairPlan) => boolean,
    private readonly onNote: (message: string) => void,
  ) {
    this.#peer = new StorePeer(backend, exchangeOf(job.id), LEADER, 2);
  }

  get report(): SharedSteps | undefined {
    return this.#report.steps > 0 ? this.#report : undefined;
  }

  async branch(step: number, { latents }: DenoiseState): Promise<Branch | undefined> {
    const now = performance.now();
    // The first step of a run also warms up: it is no measure.
    if (step > 0 && this.#joined === undefined) this.#alone = (now - this.#began) / 1000;
    this.#began = now;
    if (this.#joined === undefined && !this.#refused) await this.#find(step, latents.byteLength);
    return this.#joined === undefined ? undefined : LEADER;
  }

  async #find(step: number, bytes: number): Promise<void> {
    const { id, attempts } = this.job;
    const found = await readPair(this.backend, id);
    const there = found && found.record.until > Date.now() && found.record.attempt === attempts ? found : undefined;
    if (!there) {
      if (performance.now() - this.#hinted < HINT_MS) return;
      this.#hinted = performance.now();
      return await this.backend.hints.push(partnerHint(id));
    }
    if (!there.record.ready || step === 0 || this.#alone === undefined) return;
    const plan = planPair(bytes, this.#alone, (this.#exchange ??= await this.#measure(bytes)));
    this.onNote(`${id}: ${planText(plan)}`);
    if (!this.takes(plan)) {
      this.#refused = true;
      return await deletePair(this.backend, id);
    }
    if ((await writePair(this.backend, id, { ...there.record, from: step }, there.revision)) === undefined) return;
    this.#joined = there.record.worker;
    this.#began = performance.now();
    this.onNote(`${id}: from step ${step + 1} on with ${this.#joined}`);
  }

  /** Seconds that a prediction takes into the store and out of it. */
  async #measure(bytes: number): Promise<number> {
    const { blobs, values } = this.backend;
    const name = `${exchangeOf(this.job.id)}.0-1.0`;
    const began = performance.now();
    await blobs.put(name, new Uint8Array(bytes));
    await replaceRecord(values, name, {});
    await blobs.get(name);
    return (performance.now() - began) / 1000;
  }

  async exchange(step: number, own: Float32Array): Promise<Float32Array | undefined> {
    const { id, attempts } = this.job;
    const began = performance.now();
    using alone = linkedAbort(this.signal);
    const watching = this.#watch(alone);
    try {
      const region = regionOf(attempts, step);
      await this.#peer.put(OTHER, region, bytesOf(own));
      const theirs = floatsOf(await this.#peer.get(OTHER, region, alone.signal));
      if (theirs.length !== own.length) throw new PairEnded(`a prediction has ${own.length} values, got ${theirs.length}`);
      const now = performance.now();
      const { steps, bytes, seconds, waitingSeconds } = this.#report;
      this.#report = {
        steps: steps + 1,
        bytes: bytes + own.byteLength + theirs.byteLength,
        seconds: seconds + (now - this.#began) / 1000,
        waitingSeconds: waitingSeconds + (now - began) / 1000,
      };
      return theirs;
    } catch (error) {
      if (this.signal.aborted) throw error;
      this.onNote(`${id}: step ${step + 1} without ${this.#joined}: ${(error as Error).message}`);
      this.#joined = undefined;
      this.#hinted = Number.NEGATIVE_INFINITY;
      await deletePair(this.backend, id);
      return undefined;
    } finally {
      alone.abort(new PairEnded("the exchange is over"));
      await watching;
    }
  }

  /** Aborts when the partner is not heard of any more. */
  async #watch(alone: AbortController): Promise<void> {
    while (!alone.signal.aborted) {
      await pause(this.leaseMs / 4, alone.signal).catch(() => undefined);
      if (alone.signal.aborted) return;
      const found = await readPair(this.backend, this.job.id).catch(() => undefined);
      const { record } = found ?? {};
      if (record?.worker !== this.#joined || (record?.until ?? 0) < Date.now()) alone.abort(new PairEnded("it was not heard of any more"));
    }
  }
}

/** The partner's side: joins a job that another has the lease of, until disposed. */
export class PairFollow implements Partner, AsyncDisposable {
  readonly #peer: StorePeer;
  readonly #ended: AbortController & Disposable;
  readonly #timer: ReturnType<typeof setInterval>;
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly backend: JobBackend,
    private readonly job: Pick<Job, "id" | "attempts">,
    private record: PairRecord,
    private revision: number,
    private readonly leaseMs: number,
    outer: AbortSignal,
    private readonly stateAt: (step: number, signal: AbortSignal) => Promise<DenoiseState>,
    onRenewed: () => Promise<void>,
  ) {
    this.#peer = new StorePeer(backend, exchangeOf(job.id), OTHER, 2);
    this.#ended = linkedAbort(outer);
    this.#timer = setInterval(() => {
      void this.#change((one) => one)
        .then(onRenewed)
        .catch((error: unknown) => this.#ended.abort(error));
    }, leaseMs / 3);
  }

  /** Undefined where another helps already. @param stateAt the job's state after so many steps, once it is saved */
  static async join(
    backend: JobBackend,
    job: Pick<Job, "id" | "attempts">,
    worker: string,
    leaseMs: number,
    signal: AbortSignal,
    stateAt: (step: number, signal: AbortSignal) => Promise<DenoiseState>,
    onRenewed: () => Promise<void>,
  ): Promise<PairFollow | undefined> {
    const found = await readPair(backend, job.id);
    if (found && found.record.until > Date.now() && found.record.attempt === job.attempts) return undefined;
    const record: PairRecord = { worker, until: Date.now() + leaseMs, attempt: job.attempts, ready: false };
    const revision = await writePair(backend, job.id, record, found?.revision ?? 0);
    if (revision === undefined) return undefined;
    return new PairFollow(backend, job, record, revision, leaseMs, signal, stateAt, onRenewed);
  }

  /** Aborts when this partner is of no more use. */
  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  end(why: string): void {
    this.#ended.abort(new PairEnded(why));
  }

  async #change(change: (record: PairRecord) => PairRecord): Promise<PairRecord> {
    const mine = this.#turn.then(async () => {
      for (;;) {
        const next = { ...change(this.record), until: Date.now() + this.leaseMs };
        const revision = await writePair(this.backend, this.job.id, next, this.revision);
        if (revision !== undefined) {
          this.record = next;
          this.revision = revision;
          return next;
        }
        const found = await readPair(this.backend, this.job.id);
        if (found?.record.worker !== this.record.worker) throw new PairEnded("the leader goes on without this worker");
        this.record = found.record;
        this.revision = found.revision;
      }
    });
    this.#turn = mine.catch(() => undefined);
    return await mine;
  }

  async join(): Promise<DenoiseState> {
    const { signal } = this.#ended;
    await this.#change((record) => ({ ...record, ready: true }));
    for (;;) {
      signal.throwIfAborted();
      const found = await readPair(this.backend, this.job.id);
      if (found?.record.worker !== this.record.worker) throw new PairEnded("the leader goes on without this worker");
      if (found.record.from !== undefined) return await this.stateAt(found.record.from, signal);
      await pause(20, signal);
    }
  }

  async branch(): Promise<Branch> {
    return OTHER;
  }

  async exchange(step: number, own: Float32Array): Promise<Float32Array> {
    const region = regionOf(this.job.attempts, step);
    await this.#peer.put(LEADER, region, bytesOf(own));
    return floatsOf(await this.#peer.get(LEADER, region, this.#ended.signal));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.#turn;
    this.#ended[Symbol.dispose]();
    const found = await readPair(this.backend, this.job.id).catch(() => undefined);
    if (found?.record.worker === this.record.worker) await this.backend.values.delete(pairKey(this.job.id), found.revision);
  }
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(bytes < 1e6 ? 2 : 1)} MB`;

/** A plan in words. */
export const planText = ({ bytes, aloneSeconds, exchangeSeconds, seconds, waitingShare, pays }: PairPlan): string =>
  `a step alone takes ${aloneSeconds.toFixed(2)} s; its branches on two workers ${seconds.toFixed(2)} s, ` +
  `${exchangeSeconds.toFixed(3)} s of them (${(100 * waitingShare).toFixed(0)} %) to exchange ${megabytes(bytes)} each way, ` +
  `${megabytes((2 * bytes) / Math.max(exchangeSeconds, 1e-9))}/s${pays ? "" : ": that does not pay"}`;
