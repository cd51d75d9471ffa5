/**
 * What whoever wants tasks done keeps in a queue: a record that says it is there, written again until it ends, and the tasks' own, which it
 * watches. Nothing of it is left in the queue when it ends; of one that was lost, a later one of its kind removes what there is.
 */
import { CogwheelError } from "../base/errors.ts";
import { linkedAbort } from "../base/linked-abort.ts";
import type { JobBackend, KeyValues } from "./backend.ts";
import { clockFault } from "./clock.ts";
import { readRecord, replaceRecord } from "./records.ts";

/** Where boards of a kind are in the store. @typeParam T a task's record */
export interface BoardPlaces<T> {
  /** Of errors of its records. */
  readonly room: string;
  /** All that there are, of whomever. */
  ids(values: KeyValues): Promise<string[]>;
  /** The key of the record that says it is there. */
  key(id: string): string;
  /** What the keys of its tasks begin with. */
  prefix(id: string): string;
  /** Blobs that are a task's alone. */
  blobsOf(task: Partial<T>): string[];
}

/** Whoever was not heard of for so long gives no work. */
export const UNHEARD_MS = 30_000;
/** Tasks are looked at so often, whatever a watch tells. */
export const LOOK_MS = 2_000;
/** What is left of one that was not heard of for so long is removed. */
const KEEP_MS = 7 * 24 * 3600e3;

export class TaskBoard<T extends object> implements AsyncDisposable {
  readonly #ended: AbortController & Disposable;
  #opened = false;
  #timer: ReturnType<typeof setInterval> | undefined;
  #watching: Promise<void> | undefined;
  #changes = 0;
  readonly #waking = new Set<() => void>();

  /** @param said what the record says now; beside it there is until when that holds */
  constructor(
    private readonly backend: JobBackend,
    private readonly id: string,
    private readonly places: BoardPlaces<T>,
    private readonly said: () => object,
    outer: AbortSignal,
  ) {
    this.#ended = linkedAbort(outer);
    this.#ended.signal.addEventListener("abort", () => this.#wake(), { once: true });
  }

  /** Aborts when the board ends. */
  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  /** Removes what was left long ago, says that it is there, and goes on saying so. */
  async open(): Promise<void> {
    // Workers would take it for gone, or believe it for too long.
    const fault = await clockFault(this.backend, UNHEARD_MS / 3);
    if (fault !== undefined) throw new CogwheelError(this.places.room, fault);
    this.#opened = true;
    const { values } = this.backend;
    for (const id of await this.places.ids(values)) {
      const found = id === this.id ? undefined : await readRecord<{ until: number }>(values, this.places.key(id), this.places.room);
      if (found && found.record.until < Date.now() - KEEP_MS) await this.#removeAll(id);
    }
    await this.announce();
    // That it could not be said once is no loss.
    this.#timer = setInterval(() => void this.announce().catch(() => undefined), UNHEARD_MS / 3);
    this.#watching = this.#watch();
  }

  /** Says how it is now. */
  async announce(): Promise<void> {
    if (this.signal.aborted) return;
    await replaceRecord(this.backend.values, this.places.key(this.id), { ...this.said(), until: Date.now() + UNHEARD_MS }, "ordered");
  }

  async #watch(): Promise<void> {
    try {
      for await (const _ of this.backend.values.watch(this.places.prefix(this.id), this.signal)) this.#wake();
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

  /** Until something changes after `since`, or for LOOK_MS. Throws where the board has ended. @param signal ends the wait too */
  async changed(since: number, signal?: AbortSignal): Promise<void> {
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

  /** Takes a record away, and the blobs that are its own; whoever changes it meanwhile is too late. */
  async remove(key: string): Promise<void> {
    const { values, blobs } = this.backend;
    for (;;) {
      const found = await readRecord<Partial<T>>(values, key, this.places.room);
      if (!found) return;
      if (!(await values.delete(key, found.revision))) continue;
      for (const blob of this.places.blobsOf(found.record)) await blobs.delete(blob);
      return;
    }
  }

  async #removeAll(id: string): Promise<void> {
    for (const key of [...(await this.backend.values.keys(this.places.prefix(id))), this.places.key(id)]) await this.remove(key);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#ended.abort();
    await this.#watching;
    this.#ended[Symbol.dispose]();
    // What cannot be removed now is found by a later one.
    if (this.#opened) await this.#removeAll(this.id).catch(() => undefined);
  }
}
