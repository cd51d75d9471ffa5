/**
 * A list of tasks in a queue, for whoever wants them done. Their names follow from what is asked: whoever was killed and is started again
 * finds what was done meanwhile. A worker that is lost is known by its lease, and its task is given to another. Nothing of a list is left
 * in the queue when it ends.
 */
import { linkedAbort } from "../base/linked-abort.ts";
import { sha256 } from "../base/sha256.ts";
import type { JobBackend } from "../jobs/backend.ts";
import { readRecord, writeRecord } from "../jobs/records.ts";
import { getBlob, putBlob, TaskHold, type TaskTaker } from "../jobs/tasks.ts";
import {
  hintOfTask,
  listIds,
  listKey,
  readList,
  readTask,
  taskKey,
  taskPrefix,
  type ListedTask,
  type TaskKind,
  type TaskList,
} from "./records.ts";

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

/** A list whose asker was not heard of for so long gives no work. */
const ASKER_MS = 30_000;
/** Tasks are looked at so often, whatever a watch tells. */
const LOOK_MS = 2_000;
/** What is left of a list that was not heard of for so long is removed. */
const KEEP_MS = 7 * 24 * 3600e3;

export class TaskAsker<A extends object> implements AsyncDisposable {
  readonly #ended: AbortController & Disposable;
  /** Who this is where it does tasks itself. */
  readonly #taker: TaskTaker;
  /** Tasks that are in the queue. */
  readonly #there = new Set<string>();
  #opened: Promise<void> | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  #watching: Promise<void> | undefined;
  #changes = 0;
  readonly #waking = new Set<() => void>();
  #looked = 0;
  #done = 0;
  #all = 0;

  constructor(
    private readonly backend: JobBackend,
    private readonly options: AskerOptions,
  ) {
    this.#ended = linkedAbort(options.signal);
    this.#ended.signal.addEventListener("abort", () => this.#wake(), { once: true });
    this.#taker = { id: `asker-${options.id}`, leaseMs: ASKER_MS };
  }

  /** Aborts when the list ends. */
  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  /** Says that so many more will be asked for. */
  async expect(tasks: number): Promise<void> {
    this.#all += tasks;
    await (this.#opened ??= this.#open());
    await this.#announce();
  }

  async #open(): Promise<void> {
    await this.#removeOld();
    // That it could not be said once is no loss.
    this.#timer = setInterval(() => void this.#announce().catch(() => undefined), ASKER_MS / 3);
    this.#watching = this.#watch();
  }

  async #announce(): Promise<void> {
    const { signal: _, ...told } = this.options;
    const list: TaskList = { ...told, done: this.#done, all: this.#all, until: Date.now() + ASKER_MS };
    for (;;) {
      if (this.#ended.signal.aborted) return;
      const { revision = 0 } = (await this.backend.values.get(listKey(told.id))) ?? {};
      if ((await writeRecord(this.backend.values, listKey(told.id), list, revision)) !== undefined) return;
    }
  }

  async #watch(): Promise<void> {
    try {
      for await (const _ of this.backend.values.watch(taskPrefix(this.options.id), this.signal)) this.#wake();
    } catch {
      // It is looked now and then.
    }
  }

  #wake(): void {
    this.#changes++;
    for (const wake of [...this.#waking]) wake();
  }

  /** How much has changed by now: what `changed` waits by. */
  get changes(): number {
    return this.#changes;
  }

  /** Until something changes after `since`, or for LOOK_MS; what waits is hinted at again meanwhile. @param signal ends the wait too */
  async changed(since: number, signal?: AbortSignal): Promise<void> {
    if (performance.now() - this.#looked > LOOK_MS) await this.#hintAgain();
    this.signal.throwIfAborted();
    if (this.#changes !== since) return;
    await new Promise<void>((done) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#waking.delete(wake);
        signal?.removeEventListener("abort", wake);
        done();
      };
      const timer = setTimeout(wake, LOOK_MS);
      this.#waking.add(wake);
      signal?.addEventListener("abort", wake, { once: true });
      if (signal?.aborted) wake();
    });
    this.signal.throwIfAborted();
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
    await this.#delete(taskKey(this.options.id, task));
    if (done) this.#done++;
    else this.#all--;
    await this.#announce();
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

  /** Lists that ended without a word long ago. */
  async #removeOld(): Promise<void> {
    const { values } = this.backend;
    for (const id of await listIds(values)) {
      const list = await readList(values, id);
      if (list && list.record.until < Date.now() - KEEP_MS && id !== this.options.id) await this.#removeList(id);
    }
  }

  async #removeList(id: string): Promise<void> {
    const { values } = this.backend;
    for (const key of [...(await values.keys(taskPrefix(id))), listKey(id)]) await this.#delete(key);
  }

  async #delete(key: string): Promise<void> {
    const { values, blobs } = this.backend;
    for (;;) {
      const found = await readRecord<Partial<ListedTask<A>>>(values, key, "tasks");
      if (!found) return;
      if (!(await values.delete(key, found.revision))) continue;
      for (const { blob } of [found.record.input, found.record.result].flatMap((one) => one ?? [])) await blobs.delete(blob);
      return;
    }
  }

  /** Nothing is left in the queue: who goes on asks anew. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#ended.abort();
    await this.#watching;
    this.#ended[Symbol.dispose]();
    // What cannot be removed now is found by a later list.
    if (this.#opened) await this.#removeList(this.options.id).catch(() => undefined);
  }
}
