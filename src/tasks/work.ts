/** Tasks as a worker of a queue does them beside its jobs. */
import { CogwheelError } from "../base/errors.ts";
import { pause } from "../base/pause.ts";
import type { Hint, JobBackend } from "../jobs/backend.ts";
import { doTask, getBlob } from "../jobs/tasks.ts";
import type { OpenModel, OtherWork } from "../jobs/worker.ts";
import { listKey, type ListedTask, parseTaskHint, readList, readTask, TASK_HINTS, taskKey, type TaskKind } from "./records.ts";

/** What a task is done with. */
export interface TaskDoing {
  readonly input: Uint8Array<ArrayBuffer> | undefined;
  readonly open: readonly OpenModel[];
  readonly signal: AbortSignal;
  /** Frees what other work keeps on the adapter. */
  readonly makeRoom: () => void;
}

/** Does tasks of a kind. @typeParam A what is asked */
export interface TaskDoer<A> {
  readonly kind: TaskKind;
  /** Tasks that it does at a time. */
  readonly atOnce: number;
  /** Why it is not the one who does it; undefined where it is. */
  whyNot(ask: A, open: readonly OpenModel[]): Promise<string | undefined>;
  /** What comes out, as bytes. */
  do(ask: A, doing: TaskDoing): Promise<Uint8Array<ArrayBuffer>>;
  /** Frees what it has on the adapter between tasks. */
  release(): void;
}

export interface TaskWorkOptions {
  /** What the worker is called. */
  readonly id: string;
  /** Of the engine. */
  readonly version: string;
  /** Default 30 s. */
  readonly leaseMs?: number;
  readonly onNote?: (message: string) => void;
}

/** A worker that cannot do a task leaves its hints to others for so long. */
const LATER_MS = 250;
/** A worker that failed leaves the list to others for so long. */
const FAILED_MS = 30_000;

export class TaskWork implements OtherWork, AsyncDisposable {
  readonly prefix = TASK_HINTS;
  /** What it does beside what it is asked for next. */
  readonly #running = new Set<Promise<void>>();
  /** Lists that it has said something about. */
  readonly #told = new Map<string, string>();
  /** Lists that it failed at, and until when it leaves them to others. */
  readonly #failed = new Map<string, number>();

  constructor(
    private readonly backend: JobBackend,
    private readonly options: TaskWorkOptions,
    /** Each is given tasks of its kind alone. */
    private readonly doers: readonly TaskDoer<unknown>[],
  ) {}

  async take(hint: Hint, open: readonly OpenModel[], signal: AbortSignal, makeRoom: () => void): Promise<void> {
    const named = parseTaskHint(hint.job);
    const { values } = this.backend;
    const list = named && (await readList(values, named.list))?.record;
    const record = list && list.until > Date.now() ? (await readTask(values, taskKey(list.id, named.task)))?.record : undefined;
    if (!record || record.result) return await hint.done();
    const doer = this.doers.find(({ kind }) => kind === named!.kind);
    const why = doer === undefined ? undefined : await this.#whyNot(doer, list!.version, record, open);
    if (why !== undefined) this.#tell(list!.id, `${listKey(list!.id)}: left to others: ${why}`);
    if (!doer || why !== undefined || (this.#failed.get(list!.id) ?? 0) > Date.now()) {
      // The hint is free at once, and this worker is not the one who takes it.
      await hint.release();
      return await pause(LATER_MS, signal);
    }
    const running = this.#do(doer, list!.id, named!.task, hint, { open, signal, makeRoom }).finally(() => this.#running.delete(running));
    this.#running.add(running);
    const mine = [...this.#running];
    if (mine.length >= doer.atOnce) await Promise.race(mine);
    else running.catch((error: unknown) => this.options.onNote?.(`${hint.job}: ${(error as Error).message}`));
  }

  async #whyNot(
    doer: TaskDoer<unknown>,
    version: string,
    { ask }: ListedTask<unknown>,
    open: readonly OpenModel[],
  ): Promise<string | undefined> {
    if (version !== this.options.version) return `it is asked for by version ${version}, and this is ${this.options.version}`;
    return await doer.whyNot(ask, open);
  }

  async #do(doer: TaskDoer<unknown>, list: string, task: string, hint: Hint, doing: Omit<TaskDoing, "input">): Promise<void> {
    const { id, leaseMs = 30_000 } = this.options;
    const key = taskKey(list, task);
    const end = await doTask<ListedTask<unknown>>(
      this.backend,
      { key, task, what: `${key}.result` },
      { id, leaseMs },
      hint,
      doing.signal,
      async ({ ask, input: of }, signal) => {
        this.#tell(list, `${listKey(list)}: takes part (${doer.kind})`);
        const input = of && (await getBlob(this.backend.blobs, of));
        if (of && !input) throw new CogwheelError("tasks", `a task must have what it is done with, got no whole ${of.blob}`);
        return await doer.do(ask, { ...doing, signal, input });
      },
    );
    if (typeof end === "string") return;
    this.options.onNote?.(`${listKey(list)}: ${end.failure}; it is left to others for ${FAILED_MS / 1000} s`);
    this.#failed.set(list, Date.now() + FAILED_MS);
    doer.release();
  }

  #tell(list: string, message: string): void {
    if (this.#told.get(list) === message) return;
    this.#told.set(list, message);
    this.options.onNote?.(message);
  }

  release(): void {
    for (const doer of this.doers) doer.release();
  }

  /** Resolves when all that it was doing is over. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#running);
    this.release();
  }
}
