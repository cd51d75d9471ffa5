/**
 * Clips and captions that a training encodes, shared with the workers of a queue. Whoever trains goes on encoding too, so that a queue
 * without workers holds up nothing; the bytes are the same whoever encodes what.
 */
import { CogwheelError } from "../base/errors.ts";
import type { EncodeTask, SharedEncodeTask, SharedEncoding } from "../data/prepared.ts";
import type { JobBackend } from "../jobs/backend.ts";
import { livingWorkers } from "../jobs/workers.ts";
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import { TaskAsker, type AskerOptions } from "./asker.ts";
import { type EncodeAsk, needsOf, outcomeOf, stageOfTask } from "./encoded.ts";

export interface QueueEncodingOptions extends Omit<AskerOptions, "kind"> {
  /** Told what a person should know. */
  readonly onNote?: (message: string) => void;
}

/** Tasks in the queue at a time: their files are in it, and nobody needs more of them. */
const AHEAD = 16;
/** Where only workers can encode, they may fail at a task less often than that. */
const TRIES = 3;

export class QueueEncoding implements SharedEncoding, AsyncDisposable {
  readonly #asker: TaskAsker<EncodeAsk>;
  /** Does this process encode too? */
  #hands = true;
  /** Clips and captions that were encoded here and by each worker. */
  readonly shares = new Map<string, number>();

  constructor(
    private readonly backend: JobBackend,
    private readonly model: CogVideoX,
    private readonly options: QueueEncodingOptions,
  ) {
    this.#asker = new TaskAsker(backend, { ...options, kind: "encode" });
  }

  async share(tasks: readonly SharedEncodeTask[], onDone: (task: EncodeTask) => void): Promise<void> {
    await this.#asker.expect(tasks.length);
    const { signal } = this.#asker;
    const needs = await needsOf(this.options.model, this.model, stageOfTask(tasks[0]!.task), undefined, signal);
    const round = new Round(this.#asker, [...tasks], needs, onDone, this.shares);
    const hands = async (): Promise<void> => {
      try {
        if (this.#hands) await round.encode();
      } catch (error) {
        if (!(await this.#leaves(error))) throw error;
      }
    };
    const outcomes = await Promise.allSettled(
      [round.collect(() => !this.#hands), hands()].map((one) => one.catch((error) => round.fail(error))),
    );
    for (const one of outcomes) if (one.status === "rejected") throw one.reason;
  }

  /** What is too much for this process may be no more than workers have room for. */
  async #leaves(error: unknown): Promise<boolean> {
    if (!(error instanceof CogwheelError) || error.code !== "out-of-memory") return false;
    if ((await livingWorkers(this.backend.values)).length === 0) return false;
    this.options.onNote?.(`${error.message}; encoding is left to the workers of the queue`);
    this.#hands = false;
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#asker[Symbol.asyncDispose]();
  }
}

/** Tasks of one encoder, until all are done. */
class Round {
  /** Tasks that are in the queue, by name, in the order in which they were put there. */
  readonly #asked = new Map<string, SharedEncodeTask>();
  /** Those that are being encoded here. */
  readonly #mine = new Set<string>();
  #failure: { readonly error: unknown } | undefined;

  constructor(
    private readonly asker: TaskAsker<EncodeAsk>,
    private readonly waiting: SharedEncodeTask[],
    private readonly needs: EncodeAsk["needs"],
    private readonly onDone: (task: EncodeTask) => void,
    private readonly shares: Map<string, number>,
  ) {}

  get #isOver(): boolean {
    return this.waiting.length + this.#asked.size === 0;
  }

  /** Ends all of it. */
  fail(error: unknown): never {
    this.#failure ??= { error };
    throw this.#failure.error;
  }

  #expectWhole(): void {
    this.asker.signal.throwIfAborted();
    if (this.#failure) throw this.#failure.error;
  }

  /** Asks, and keeps what workers give. @param alone is nothing encoded here? */
  async collect(alone: () => boolean): Promise<void> {
    while (!this.#isOver) {
      this.#expectWhole();
      const { changes } = this.asker;
      while (this.waiting.length && this.#asked.size < AHEAD) await this.#ask(this.waiting.shift()!);
      for (const [name, one] of this.#asked) if (!this.#mine.has(name)) await this.#take(name, one, alone());
      if (!this.#isOver && this.asker.changes === changes) await this.asker.changed(changes);
    }
  }

  async #ask(one: SharedEncodeTask): Promise<void> {
    const name = await this.asker.add({ needs: this.needs, task: one.task }, (await one.input?.()) as Uint8Array<ArrayBuffer> | undefined);
    // One that is listed twice is encoded once.
    if (this.#asked.has(name)) this.onDone(one.task);
    else this.#asked.set(name, one);
  }

  async #take(name: string, one: SharedEncodeTask, alone: boolean): Promise<void> {
    const record = await this.asker.look(name);
    if (!record) {
      this.#asked.delete(name);
      return await this.#ask(one);
    }
    if (alone && record.failures >= TRIES && !record.lease)
      throw new CogwheelError(
        "tasks",
        `a worker must encode what this process has no room for, got ${record.failure}; mend it, and begin anew`,
      );
    const bytes = record.result && (await this.asker.result(name));
    if (!bytes) return;
    const outcome = await outcomeOf(bytes, one.task);
    if ("broken" in outcome) one.broken(outcome.broken);
    else await one.keep(outcome);
    await this.#end(name, one, record.result.worker);
  }

  async #end(name: string, one: SharedEncodeTask, by: string): Promise<void> {
    this.#asked.delete(name);
    await this.asker.remove(name, true);
    this.shares.set(by, (this.shares.get(by) ?? 0) + 1);
    this.onDone(one.task);
  }

  /** Encodes here what nobody has begun: the newest first, as workers begin with the oldest. */
  async encode(): Promise<void> {
    while (!this.#isOver) {
      this.#expectWhole();
      const { changes } = this.asker;
      let encoded = false;
      for (const [name, one] of [...this.#asked].reverse()) {
        await using hold = await this.asker.take(name);
        if (!hold) continue;
        this.#mine.add(name);
        try {
          await one.here();
          await hold.end();
          await this.#end(name, one, HERE);
        } catch (error) {
          await hold.change(({ lease: _, ...record }) => record).catch(() => undefined);
          throw error;
        } finally {
          this.#mine.delete(name);
        }
        encoded = true;
        break;
      }
      if (!encoded && !this.#isOver) await this.asker.changed(changes);
    }
  }
}

/** What this process is called among those that encoded. */
export const HERE = "here";
