/**
 * Small work that is shared over a queue: a record in the store says what is to be done, who does it, and what came out. Whoever does it
 * has a lease of it; its result is a blob that is named by its content, which the record names by compare-and-set, so that a worker that
 * was thought dead and comes back gives no second one.
 */
import { linkedAbort } from "../base/linked-abort.ts";
import { sha256 } from "../base/sha256.ts";
import type { Blobs, Hint, JobBackend } from "./backend.ts";
import type { Lease } from "./job.ts";
import { readRecord, type Stored, writeRecord } from "./records.ts";

/** A blob, and what it must hold. */
export interface BlobReference {
  readonly blob: string;
  /** SHA-256 of its bytes. */
  readonly digest: string;
}

/** What every task's record has. */
export interface TaskRecord {
  /** Tells it from others that have its key before or after it. */
  readonly task: string;
  readonly lease?: Lease;
  /** How often workers failed, and what the last one said. */
  readonly failures: number;
  readonly failure?: string;
  readonly result?: BlobReference & { readonly worker: string };
}

/** Keeps bytes under a name that says what they are. @param what the name's beginning */
export async function putBlob(blobs: Blobs, what: string, bytes: Uint8Array<ArrayBuffer>): Promise<BlobReference> {
  const digest = await sha256(bytes);
  const blob = `${what}-${digest.slice(0, 16)}`;
  await blobs.put(blob, bytes);
  return { blob, digest };
}

/** The bytes; undefined where they are not there, or others. */
export async function getBlob(blobs: Blobs, { blob, digest }: BlobReference): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const bytes = (await blobs.get(blob)) as Uint8Array<ArrayBuffer> | undefined;
  return bytes && (await sha256(bytes)) === digest ? bytes : undefined;
}

/** A task is another's now, or of no more use. */
export class Superseded extends Error {}

/** A task in the store. */
export interface TaskPlace {
  readonly key: string;
  readonly task: string;
}

/** Who takes tasks. */
export interface TaskTaker {
  readonly id: string;
  /** Others take a task over when this one was not heard of for so long. */
  readonly leaseMs: number;
  /** Called when the lease was renewed. */
  readonly onRenewed?: () => Promise<void>;
}

/** A hold on a task, renewed until it is disposed of. */
export class TaskHold<T extends TaskRecord> implements AsyncDisposable {
  readonly #lost: AbortController & Disposable;
  readonly #timer: ReturnType<typeof setInterval>;
  /** Changes follow each other: each goes by the revision of the one before. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly backend: JobBackend,
    private readonly place: TaskPlace,
    private held: Stored<T>,
    private readonly taker: TaskTaker,
    outer: AbortSignal,
  ) {
    this.#lost = linkedAbort(outer);
    this.#timer = setInterval(() => {
      // A store that cannot be reached for a moment is no loss.
      void this.change((record) => record)
        .then(taker.onRenewed)
        .catch(() => undefined);
    }, taker.leaseMs / 3);
  }

  /** Undefined where it is done, gone or another's. @param signal ends the work for another reason */
  static async take<T extends TaskRecord>(
    backend: JobBackend,
    place: TaskPlace,
    taker: TaskTaker,
    signal: AbortSignal,
  ): Promise<TaskHold<T> | undefined> {
    for (;;) {
      const found = await readRecord<T>(backend.values, place.key);
      if (found?.record.task !== place.task || found.record.result || (found.record.lease?.until ?? 0) > Date.now()) return undefined;
      const record = { ...found.record, lease: leaseOf(taker) };
      const revision = await writeRecord(backend.values, place.key, record, found.revision);
      if (revision !== undefined) return new TaskHold(backend, place, { record, revision }, taker, signal);
    }
  }

  get record(): T {
    return this.held.record;
  }

  get revision(): number {
    return this.held.revision;
  }

  /** Aborts where it is this one's no more, with a {@link Superseded}, and with the signal that it was taken with. */
  get signal(): AbortSignal {
    return this.#lost.signal;
  }

  /** Changes the record, and renews the lease where it has one after that. Throws a {@link Superseded} where it is another's. */
  async change(change: (record: T) => T): Promise<void> {
    const mine = this.#turn.then(() => this.#change(change));
    this.#turn = mine.catch(() => undefined);
    await mine;
  }

  async #change(change: (record: T) => T): Promise<void> {
    const { key, task } = this.place;
    const { values } = this.backend;
    for (;;) {
      const changed = change(this.held.record);
      const record = changed.lease === undefined ? changed : { ...changed, lease: leaseOf(this.taker) };
      const revision = await writeRecord(values, key, record, this.held.revision);
      if (revision !== undefined) {
        this.held = { record, revision };
        return;
      }
      const found = await readRecord<T>(values, key);
      if (found?.record.task !== task || found.record.result || found.record.lease?.worker !== this.taker.id) {
        const lost = new Superseded(`${key} is another's now`);
        this.#lost.abort(lost);
        throw lost;
      }
      this.held = found;
    }
  }

  /** No more renewals. */
  async end(): Promise<void> {
    clearInterval(this.#timer);
    await this.#turn;
  }

  /** Names the result in the record, or takes it away again where another's is there. @param what the blob's name begins so */
  async give(what: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const { values, blobs } = this.backend;
    const result = { ...(await putBlob(blobs, what, bytes)), worker: this.taker.id };
    try {
      await this.change(({ lease: _, ...rest }) => ({ ...rest, result }) as unknown as T);
    } catch (error) {
      const there = (await readRecord<T>(values, this.place.key))?.record;
      if (error instanceof Superseded && there?.result?.blob !== result.blob) await blobs.delete(result.blob);
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
    this.#lost[Symbol.dispose]();
  }
}

const leaseOf = ({ id, leaseMs }: TaskTaker): Lease => ({ worker: id, until: Date.now() + leaseMs });

/** What became of a task that a hint named: its result was given, it was of no use to this worker, or the work on it failed. */
export type TaskEnd = "given" | "no use" | { readonly failure: string };

/**
 * Does the task that a hint names, if nobody else does, and gives the hint back as is due.
 * @param what the name of the result's blob begins so
 */
export async function doTask<T extends TaskRecord>(
  backend: JobBackend,
  { what, ...place }: TaskPlace & { readonly what: string },
  { id, leaseMs }: TaskTaker,
  hint: Hint,
  signal: AbortSignal,
  compute: (record: T, signal: AbortSignal) => Promise<Uint8Array<ArrayBuffer>>,
): Promise<TaskEnd> {
  await using hold = await TaskHold.take<T>(backend, place, { id, leaseMs, onRenewed: () => hint.working() }, signal);
  // Whoever wants it done hints again where a lease runs out.
  if (!hold) {
    await hint.done();
    return "no use";
  }
  try {
    const bytes = await compute(hold.record, hold.signal);
    await hold.end();
    hold.signal.throwIfAborted();
    await hold.give(what, bytes);
  } catch (error) {
    await hold.end();
    const message = error instanceof Error ? error.message : String(error);
    const failed = !signal.aborted;
    const mine = await hold
      .change(({ lease: _, ...record }) => {
        const failure = { failure: `${id}: ${message}`, failures: record.failures + 1 };
        return { ...record, ...(failed ? failure : {}) } as unknown as T;
      })
      .then(
        () => true,
        () => false,
      );
    await (mine ? hint.release() : hint.done());
    return mine && failed ? { failure: message } : "no use";
  }
  await hint.done();
  return "given";
}
