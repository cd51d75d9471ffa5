/**
 * Leads a run whose tasks are done by workers of a queue: micro-steps of a step, or rounds of replicas. The step's parameters and tasks are
 * published; what comes out is handed to the run in their order, so that its bytes depend neither on how many workers there are nor on who
 * computed what. A worker that is lost is known by its lease, and its task is given to another. A leader that is lost is started again:
 * what was computed of the step that was under way is used.
 */
import { CogwheelError } from "../base/errors.ts";
import { sha256 } from "../base/sha256.ts";
import type { JobBackend } from "../jobs/backend.ts";
import { type Stored, writeRecord } from "../jobs/records.ts";
import { LOOK_MS, TaskBoard } from "../jobs/task-board.ts";
import { type BlobReference, getBlob, putBlob } from "../jobs/tasks.ts";
import type { RankModel } from "./rank-model.ts";
import { blobsOf, hintOf, microKey, microPrefix, readShared, runKey, RUNS, type SharedMicro, type SharedRun } from "./records.ts";

export interface LeaderOptions {
  /** Hexadecimal digits: the same for a run that goes on. */
  readonly id: string;
  readonly model: Pick<RankModel, "name" | "weights">;
  /** Of the engine: workers of another do not take part. */
  readonly version: string;
  readonly accumulation: number;
  /** Steps of the run, and where it is kept: for people who look at the queue. */
  readonly steps?: number;
  readonly at?: string;
  readonly signal: AbortSignal;
  /** Told what a person should know. */
  readonly onNote?: (message: string) => void;
}

/** Workers may fail at a micro-step less often than that. */
const TRIES = 3;
/** Without any worker for so long a word is said. */
const LONELY_MS = 5_000;

/** A task as it is published. */
interface PublishedTask {
  readonly inputs: Uint8Array<ArrayBuffer>;
  /** What is read on the way, kept by `publish`. */
  readonly batches?: readonly BlobReference[];
}

export class TaskLeader implements AsyncDisposable {
  readonly #board: TaskBoard<SharedMicro>;
  readonly #begun: number = performance.now();
  #run: Omit<SharedRun, "until"> | undefined;
  /** Of the step that is under way. */
  #tasks: readonly SharedMicro[] = [];
  #looked = 0;
  #lonely = true;
  /** What a worker failed with, once it was told. */
  #failure: string | undefined;
  /** Steps that were done before: a run that goes on begins after them. */
  done = 0;
  /** Tasks that each worker computed. */
  readonly shares = new Map<string, number>();

  /** @param what a task is, in words */
  constructor(
    private readonly backend: JobBackend,
    private readonly options: LeaderOptions,
    private readonly what: string,
  ) {
    this.#board = new TaskBoard(backend, options.id, RUNS, () => this.#run!, options.signal);
  }

  async open(recipe: SharedRun["recipe"]): Promise<void> {
    const { id, model, version, accumulation, steps, at } = this.options;
    const known = { ...(steps === undefined ? {} : { steps }), ...(at === undefined ? {} : { at }) };
    this.#run = { id, model: model.name, weights: model.weights, version, recipe, accumulation, ...known };
    await this.#board.open();
  }

  /** Keeps bytes for a task that is not published yet. */
  protected keep(what: string, bytes: Uint8Array<ArrayBuffer>): Promise<BlobReference> {
    return putBlob(this.backend.blobs, `${runKey(this.options.id)}.${what}`, bytes);
  }

  /** Publishes what a step, or a round of so many, waits for. */
  protected async publish(steps: number, parameters: Uint8Array<ArrayBuffer>, published: readonly PublishedTask[]): Promise<void> {
    const { id } = this.options;
    const { values, blobs, hints } = this.backend;
    this.done += steps;
    this.#run = { ...this.#run!, step: this.done - steps + 1 };
    await this.#board.announce();
    const before = this.#tasks;
    const shared = await this.keep("parameters", parameters);
    const { recipe, weights, version } = this.#run!;
    const of = JSON.stringify([recipe, weights, version]);
    const tasks: SharedMicro[] = [];
    for (const { inputs: bytes, batches } of published) {
      const inputs = await this.keep("task", bytes);
      const digests = [shared, inputs, ...(batches ?? [])].map(({ digest }) => digest);
      const task = (await sha256(new TextEncoder().encode([of, ...digests].join(" ")))).slice(0, 16);
      tasks.push({ task, parameters: shared, inputs, ...(batches ? { batches } : {}), failures: 0 });
    }
    const kept = new Set(tasks.flatMap(blobsOf));
    const old = new Set(before.map(({ parameters }) => parameters.blob));
    for (const [i, task] of tasks.entries()) {
      const there = await this.#replace(i, task);
      for (const blob of there ? blobsOf(there) : []) old.add(blob);
    }
    this.#tasks = tasks;
    for (const [i, { task }] of tasks.entries()) await hints.push(hintOf(id, task, i));
    for (const blob of old) if (!kept.has(blob)) await blobs.delete(blob);
    // A run that goes on may have had more.
    for (const key of await values.keys(microPrefix(id)))
      if (Number(key.slice(microPrefix(id).length)) >= tasks.length) await this.#board.remove(key);
  }

  /** Writes a micro-step in the place of that of the step before, which it returns; what was reached of this one stays. */
  async #replace(micro: number, task: SharedMicro): Promise<SharedMicro | undefined> {
    const key = microKey(this.options.id, micro);
    for (;;) {
      const found = await readShared<SharedMicro>(this.backend.values, key);
      if (found?.record.task === task.task) {
        const again = { ...found.record, failures: 0 };
        if ((await writeRecord(this.backend.values, key, again, found.revision)) !== undefined) return undefined;
      } else if ((await writeRecord(this.backend.values, key, task, found?.revision ?? 0)) !== undefined) return found?.record;
    }
  }

  /** What came out of a task; waits until it is there. */
  protected async resultBytes(micro: number): Promise<Uint8Array<ArrayBuffer>> {
    const { task } = this.#tasks[micro]!;
    for (;;) {
      this.#board.signal.throwIfAborted();
      const { changes } = this.#board;
      const found = await this.#look(micro);
      const { record } = found;
      if (record.result) {
        const bytes = await getBlob(this.backend.blobs, record.result);
        if (bytes) {
          const { worker } = record.result;
          this.shares.set(worker, (this.shares.get(worker) ?? 0) + 1);
          return bytes;
        }
        // Its disk was full, or another hand took it: it is computed again.
        const { result: _, lease: __, ...waiting } = record;
        await writeRecord(this.backend.values, microKey(this.options.id, micro), waiting, found.revision);
        await this.backend.hints.push(hintOf(this.options.id, task, micro), { lost: true });
        continue;
      }
      if (record.failures > 0) await this.#expectHope(record);
      if (performance.now() - this.#looked > LOOK_MS) await this.#hintAgain();
      // What changed while it was looked at is looked at again.
      await this.#board.changed(changes);
    }
  }

  /** Throws where workers failed too often at a micro-step, or at the step before anything came of it, and nobody works on any. */
  async #expectHope({ failures }: SharedMicro): Promise<void> {
    const all = await Promise.all(this.#tasks.map(async (_, i) => (await this.#look(i)).record));
    const sum = all.some(({ result }) => result) ? failures : all.reduce((n, micro) => n + micro.failures, 0);
    if (sum < TRIES || all.some(({ lease }) => lease && lease.until > Date.now())) return;
    throw new CogwheelError(
      "ranks",
      `${this.what} must be computed by one of the workers, got ${sum} failures: ${this.#failure ?? "unknown"}; ` +
        "mend it, and start the run again: it goes on from the last checkpoint",
    );
  }

  /** A micro-step as it is; one that is no more is published again. */
  async #look(micro: number): Promise<Stored<SharedMicro>> {
    const key = microKey(this.options.id, micro);
    for (;;) {
      const found = await readShared<SharedMicro>(this.backend.values, key);
      if (found?.record.task === this.#tasks[micro]!.task) {
        const { lease, failure } = found.record;
        if (lease) this.#lonely = false;
        if (failure !== undefined && failure !== this.#failure) this.options.onNote?.(`Worker ${failure}`);
        this.#failure = failure ?? this.#failure;
        return found;
      }
      await this.#replace(micro, this.#tasks[micro]!);
    }
  }

  /** Hints may be lost, and workers: what waits is hinted at again. */
  async #hintAgain(): Promise<void> {
    this.#looked = performance.now();
    for (const [i, { task }] of this.#tasks.entries()) {
      const { record } = await this.#look(i);
      const { result, lease } = record;
      if (!result && (lease?.until ?? 0) <= Date.now())
        await this.backend.hints.push(hintOf(this.options.id, task, i), { lost: lease !== undefined });
    }
    if (this.#lonely && performance.now() - this.#begun > LONELY_MS) {
      this.#lonely = false;
      const { name } = this.options.model;
      this.options.onNote?.(`No worker has taken part yet; start \`cogwheel worker\` on this queue with the model ${name}.`);
    }
  }

  /** Nothing is left in the queue: a run that goes on publishes its step anew. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#board[Symbol.asyncDispose]();
  }
}
