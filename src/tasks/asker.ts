/**
 * A list of tasks in a queue, for whoever wants them done. Their names follow from what is asked: whoever was killed and is started again
 * finds what was done meanwhile. A worker that is lost is known by its lease, and its task is given to another. Nothing of a list is left
 * in the queue when it ends.
 */
import { sha256 } from "../base/sha256.ts";
import type { JobBackend } from "../jobs/backend.ts";
import { writeRecord } from "../jobs/records.ts";
import { LOOK_MS, TaskBoard, UNHEARD_MS } from "../jobs/task-board.ts";
import { getBlob, putBlob, TaskHold, type TaskTaker } from "../jobs/tasks.ts";
import { hintOfTask, type ListedTask, LISTS, readTask, taskKey, type TaskKind } from "./records.ts";

export interface AskerOptions {
  /** Hexadecimal digits: the same for who goes on. */
  readonly id: string;
  readonly kind: TaskKind;
  /** Of the engine. */
  readonly version: string;
  readonly model: string;
  /** Where results are kept: for people who look at the queue. */
  readonly at?: string;
  readonly signal: AbortSignal;
}

export class TaskAsker<A extends object> implements AsyncDisposable {
  readonly #board: TaskBoard<ListedTask<A>>;
  /** Who this is where it does tasks itself. */
  readonly #taker: TaskTaker;
  /** Tasks that are in the queue. */
  readonly #there = new Set<string>();
  #opened: Promise<void> | undefined;
  #looked = 0;
  #done = 0;
  #all = 0;

  constructor(
    private readonly backend: JobBackend,
    private readonly options: AskerOptions,
  ) {
    const { id, kind, version, model, at, signal } = options;
    const said = { id, kind, version, model, ...(at === undefined ? {} : { at }) };
    this.#board = new TaskBoard(backend, id, LISTS, () => ({ ...said, done: this.#done, all: this.#all }), signal);
    this.#taker = { id: `asker-${id}`, leaseMs: UNHEARD_MS };
  }

  /** Aborts when the list ends. */
  get signal(): AbortSignal {
    return this.#board.signal;
  }

  /** Says that so many more will be asked for. */
  async expect(tasks: number): Promise<void> {
    this.#all += tasks;
    await (this.#opened ? this.#opened.then(() => this.#board.announce()) : (this.#opened = this.#board.open()));
  }

  /** How much has changed by now: what `changed` waits by. */
  get changes(): number {
    return this.#board.changes;
  }

  /** Until something changes after `since`, or for a while; what waits is hinted at again meanwhile. @param signal ends the wait too */
  async changed(since: number, signal?: AbortSignal): Promise<void> {
    if (performance.now() - this.#looked > LOOK_MS) await this.#hintAgain();
    await this.#board.changed(since, signal);
  }

  /** Puts a task into the queue, where it is not there. Resolves to its name. */
  async add(ask: A, input?: Uint8Array<ArrayBuffer>): Promise<string> {
    const { id, version, kind } = this.options;
    const { values, blobs, hints } = this.backend;
    const of = JSON.stringify([version, ask, input ? await sha256(input) : ""]);
    const task = (await sha256(new TextEncoder().encode(of))).slice(0, 16);
    const key = taskKey(id, task);
    this.#there.add(task);
    const given = input ? { input: await putBlob(blobs, `${key}.input`, input) } : {};
    for (;;) {
      const found = await readTask<A>(values, key);
      // What one that was killed was doing is done anew.
      const before: ListedTask<A> = found?.record ?? { task, ask, failures: 0, ...given };
      const { lease, failure: _, ...rest } = before;
      const record: ListedTask<A> = { ...rest, failures: 0, ...(lease && lease.worker !== this.#taker.id ? { lease } : {}) };
      if ((await writeRecord(values, key, record, found?.revision ?? 0)) !== undefined) break;
    }
    await hints.push(hintOfTask(kind, id, task));
    return task;
  }

  /** A task as it is; undefined where another hand took it away. */
  async look(task: string): Promise<ListedTask<A> | undefined> {
    return (await readTask<A>(this.backend.values, taskKey(this.options.id, task)))?.record;
  }

  /** What came out of a task; undefined where nothing has yet. */
  async result(task: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const { values, blobs, hints } = this.backend;
    const { id, kind } = this.options;
    const found = await readTask<A>(values, taskKey(id, task));
    if (!found?.record.result) return undefined;
    const bytes = await getBlob(blobs, found.record.result);
    if (bytes) return bytes;
    // Its disk was full, or another hand took it: it is done again.
    const { result: _, lease: __, ...waiting } = found.record;
    await writeRecord(values, taskKey(id, task), waiting, found.revision);
    await hints.push(hintOfTask(kind, id, task), { lost: true });
    return undefined;
  }

  /** A hold on a task that nobody does, for the asker itself. */
  async take(task: string): Promise<TaskHold<ListedTask<A>> | undefined> {
    return await TaskHold.take(this.backend, { key: taskKey(this.options.id, task), task }, this.#taker, this.signal);
  }

  /** Takes a task away; it was done where its result is kept. */
  async remove(task: string, done: boolean): Promise<void> {
    this.#there.delete(task);
    await this.#board.remove(taskKey(this.options.id, task));
    if (done) this.#done++;
    else this.#all--;
    await this.#board.announce();
  }

  /** Hints may be lost, and workers: what waits is hinted at again. */
  async #hintAgain(): Promise<void> {
    this.#looked = performance.now();
    const { id, kind } = this.options;
    for (const task of this.#there) {
      const record = await this.look(task);
      if (record && !record.result && (record.lease?.until ?? 0) <= Date.now())
        await this.backend.hints.push(hintOfTask(kind, id, task), { lost: record.lease !== undefined });
    }
  }

  /** Nothing is left in the queue: who goes on asks anew. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#board[Symbol.asyncDispose]();
  }
}
