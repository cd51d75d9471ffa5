/**
 * Who helps with a job that another has the lease of: the hint that a partner is wanted, the value that says who it is, and the partner's
 * own hold, which it renews as leases are renewed.
 */
import { linkedAbort } from "../base/linked-abort.ts";
import { pause } from "../base/pause.ts";
import type { SplitClip } from "../models/vae/split/share.ts";
import type { JobBackend } from "./backend.ts";
import type { Job } from "./job.ts";
import { readRecord, type Stored, writeRecord } from "./records.ts";
import { deleteExchange } from "./store-peer.ts";

/** The value under `pair.JOB`: who helps, until when it counts as there, and with what. */
export interface PairRecord {
  readonly worker: string;
  readonly until: number;
  /** Of the leader's try at the job. */
  readonly attempt: number;
  /** The name of what both give each other, which nobody had before. */
  readonly exchange: string;
  /** Is everything loaded? */
  readonly ready: boolean;
  /** Bytes of the adapter's memory that the partner may take, where that is known. */
  readonly roomBytes?: number;
  /** The leader says from which step on they share the work, or which clip. */
  readonly from?: number;
  readonly clip?: SplitClip;
}

type Values = Pick<JobBackend, "values">;
type Store = Pick<JobBackend, "values" | "blobs">;
type Led = Pick<Job, "id" | "attempts">;

const PARTNER = "partner.";
/** The hint that a job's leader wants a partner, and the job that such a hint is of. */
export const partnerHint = (id: string): string => PARTNER + id;
export const partnerHintOf = (hint: string): string | undefined => (hint.startsWith(PARTNER) ? hint.slice(PARTNER.length) : undefined);

export const pairKey = (id: string): string => `pair.${id}`;

export const readPair = ({ values }: Values, id: string): Promise<Stored<PairRecord> | undefined> =>
  readRecord<PairRecord>(values, pairKey(id));
export const writePair = ({ values }: Values, id: string, record: PairRecord, revision: number): Promise<number | undefined> =>
  writeRecord(values, pairKey(id), record, revision);

/** The partner of this try of the leader's, if one is there. */
export async function partnerOf(backend: Values, { id, attempts }: Led): Promise<Stored<PairRecord> | undefined> {
  const found = await readPair(backend, id);
  return found && found.record.until > Date.now() && found.record.attempt === attempts ? found : undefined;
}

/** Deletes what a pair left of this try of the leader's, or of one before: a leader that was thought dead takes nobody's partner away. */
export async function deletePair(backend: Store, { id, attempts }: Led): Promise<void> {
  const found = await readPair(backend, id).catch(() => undefined);
  const entry = found ?? (await backend.values.get(pairKey(id)));
  if (!entry || (found && found.record.attempt > attempts)) return;
  await backend.values.delete(pairKey(id), entry.revision);
  if (found) await deleteExchange(backend, found.record.exchange);
}

/** Thrown by shared work that is of no more use: the other is done, gone, or goes on alone. */
export class PairEnded extends Error {}

/** Aborts when a partner is not heard of any more; resolves once `alone` is aborted, by whomever. */
export async function watchPartner(backend: Values, id: string, worker: string, leaseMs: number, alone: AbortController): Promise<void> {
  while (!alone.signal.aborted) {
    await pause(leaseMs / 4, alone.signal).catch(() => undefined);
    if (alone.signal.aborted) return;
    const found = await readPair(backend, id).catch(() => undefined);
    const { record } = found ?? {};
    if (record?.worker !== worker || record.until < Date.now()) alone.abort(new PairEnded("it was not heard of any more"));
  }
}

/** A partner's hold on its place beside a leader, until disposed. */
export class PartnerHold implements AsyncDisposable {
  readonly #ended: AbortController & Disposable;
  readonly #timer: ReturnType<typeof setInterval>;
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly backend: JobBackend,
    readonly job: Led,
    private record: PairRecord,
    private revision: number,
    private readonly leaseMs: number,
    outer: AbortSignal,
    onRenewed: () => Promise<void>,
  ) {
    this.#ended = linkedAbort(outer);
    this.#timer = setInterval(() => {
      void this.change((one) => one)
        .then(onRenewed)
        .catch((error: unknown) => this.#ended.abort(error));
    }, leaseMs / 3);
  }

  /** Undefined where another helps already. */
  static async take(
    backend: JobBackend,
    job: Led,
    worker: string,
    leaseMs: number,
    signal: AbortSignal,
    onRenewed: () => Promise<void>,
  ): Promise<PartnerHold | undefined> {
    if (await partnerOf(backend, job)) return undefined;
    const before = await readPair(backend, job.id);
    const exchange = `exchange.${job.id}.${crypto.randomUUID().slice(0, 8)}`;
    const record: PairRecord = { worker, until: Date.now() + leaseMs, attempt: job.attempts, exchange, ready: false };
    const revision = await writePair(backend, job.id, record, before?.revision ?? 0);
    if (revision === undefined) return undefined;
    if (before) await deleteExchange(backend, before.record.exchange);
    return new PartnerHold(backend, job, record, revision, leaseMs, signal, onRenewed);
  }

  /** Aborts when this partner is of no more use. */
  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  get exchange(): string {
    return this.record.exchange;
  }

  end(why: string): void {
    this.#ended.abort(new PairEnded(why));
  }

  async change(change: (record: PairRecord) => PairRecord): Promise<PairRecord> {
    const mine = this.#turn.then(async () => {
      for (;;) {
        const next = { ...change(this.record), until: Date.now() + this.leaseMs };
        const revision = await writePair(this.backend, this.job.id, next, this.revision);
        if (revision !== undefined) {
          this.record = next;
          this.revision = revision;
          return next;
        }
        ({ record: this.record, revision: this.revision } = await this.#mine());
      }
    });
    this.#turn = mine.catch(() => undefined);
    return await mine;
  }

  async #mine(): Promise<Stored<PairRecord>> {
    const found = await readPair(this.backend, this.job.id);
    if (found?.record.worker !== this.record.worker) throw new PairEnded("the leader goes on without this worker");
    return found;
  }

  /** Says that everything is loaded, and how much room there is, and waits for what the leader then says. */
  async ready<T>(said: (record: PairRecord) => T | undefined, room: Pick<PairRecord, "roomBytes"> = {}): Promise<T> {
    await this.change((record) => ({ ...record, ...room, ready: true }));
    for (;;) {
      this.signal.throwIfAborted();
      const found = said((await this.#mine()).record);
      if (found !== undefined) return found;
      await pause(20, this.signal);
    }
  }

  /** Resolves once the leader has taken what it was given, and this partner's place away. */
  async over(): Promise<void> {
    while (!this.signal.aborted) {
      await pause(100, this.signal).catch(() => undefined);
      const there = await readPair(this.backend, this.job.id).catch(() => undefined);
      if (there?.record.exchange !== this.record.exchange) return;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.#turn;
    this.#ended[Symbol.dispose]();
    const found = await readPair(this.backend, this.job.id).catch(() => undefined);
    if (found?.record.worker === this.record.worker) await this.backend.values.delete(pairKey(this.job.id), found.revision);
    // Also what was given when the leader had gone on alone.
    await deleteExchange(this.backend, this.exchange).catch(() => undefined);
  }
}
