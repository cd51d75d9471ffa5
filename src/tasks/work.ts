/** Tasks as a worker of a queue does them beside its jobs. */
import { CogwheelError } from "../base/errors.ts";
import type { Hint, JobBackend } from "../jobs/backend.ts";
import { Leaving } from "../jobs/leaving.ts";
import { doTask, getBlob } from "../jobs/tasks.ts";
import type { OpenModel, OtherWork } from "../jobs/other-work.ts";
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

export class TaskWork implements OtherWork, AsyncDisposable {
  readonly prefix = TASK_HINTS;
  /** What it does beside what it is asked for next. */
  readonly #running = new Set<Promise<void>>();
  readonly #leaving: Leaving;

  constructor(
    private readonly backend: JobBackend,
    private readonly options: TaskWorkOptions,
    /** Each is given tasks of its kind alone. */
    private readonly doers: readonly TaskDoer<unknown>[],
  ) {
    this.#leaving = new Leaving(options.onNote);
  }

  async take(hint: Hint, open: readonly OpenModel[], signal: AbortSignal, makeRoom: () => void): Promise<void> {
    const named = parseTaskHint(hint.job);
    const { values } = this.backend;
    const list = named && (await readList(values, named.list))?.record;
    const record = list && list.until > Date.now() ? (await readTask(values, taskKey(list.id, named.task)))?.record : undefined;
    if (!record || record.result) return await hint.done();
    const doer = this.doers.find(({ kind }) => kind === named!.kind);
    const why = doer === undefined ? undefined : await this.#whyNot(doer, list!.version, record, open);
    const name = listKey(list!.id);
    if (why !== undefined) this.#leaving.tell(name, `left to others: ${why}`);
    if (!doer || why !== undefined || this.#leaving.isLeft(name)) return await this.#leaving.giveBack(hint, signal);
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
        this.#leaving.tell(listKey(list), `takes part (${doer.kind})`);
        const input = of && (await getBlob(this.backend.blobs, of));
        if (of && !input) throw new CogwheelError("tasks", `a task must have what it is done with, got no whole ${of.blob}`);
        return await doer.do(ask, { ...doing, signal, input });
      },
    );
    if (typeof end === "string") return;
    this.#leaving.failed(listKey(list), end.failure);
    doer.release();
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
