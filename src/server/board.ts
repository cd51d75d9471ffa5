/**
 * All jobs as the server last heard of them, in memory: lists, limits, metrics and events are answered from here. The store is the truth;
 * it is read once, and watched from then on.
 */
import { CogwheelError } from "../base/errors.ts";
import { pause } from "../base/pause.ts";
import { jobKey, type Job } from "../jobs/job.ts";
import type { JobStore, StoredJob as Posted } from "../jobs/store.ts";

export type { StoredJob as Posted } from "../jobs/store.ts";

/** Hears what became of a job; undefined where it was deleted. */
export type Listener = (now: Posted | undefined, before: Job | undefined, id: string) => void;

const PREFIX = jobKey("");

export class JobBoard implements AsyncDisposable {
  readonly #posted = new Map<string, Posted>();
  /** Ids, sorted: by age. */
  #ids: string[] = [];
  /** What was deleted lately, so that a change that comes late does not bring it back. */
  readonly #gone = new Map<string, { readonly revision: number; readonly owner: string }>();
  readonly #listeners = new Map<string | undefined, Set<Listener>>();
  readonly #ended = new AbortController();
  #watching: Promise<void> | undefined;

  private constructor(private readonly store: JobStore) {}

  static async open(store: JobStore): Promise<JobBoard> {
    const board = new JobBoard(store);
    board.#watching = board.#watch();
    // The watch must stand before the store is read: what changes in between is then heard.
    await pause(50);
    const ids = (await store.backend.values.keys(PREFIX)).map((key) => key.slice(PREFIX.length));
    for (let at = 0; at < ids.length; at += 64) await Promise.all(ids.slice(at, at + 64).map((id) => board.#read(id)));
    return board;
  }

  async #watch(): Promise<void> {
    const { signal } = this.#ended;
    while (!signal.aborted)
      try {
        for await (const { key } of this.store.backend.values.watch(PREFIX, signal)) await this.#read(key.slice(PREFIX.length));
      } catch {
        // The store is not there for a moment, or the server ends.
        await pause(1000, signal).catch(() => undefined);
      }
  }

  async #read(id: string): Promise<void> {
    const now = await this.store.read(id).catch((error: unknown) => {
      // A damaged one is as none: the others are listed all the same.
      if (error instanceof CogwheelError) return undefined;
      throw error;
    });
    if (now) this.post(now);
    else this.remove(id);
  }

  /** What is newer than what is known. */
  post(now: Posted): void {
    const { id } = now.job;
    const before = this.#posted.get(id);
    if (before && before.revision >= now.revision) return;
    if ((this.#gone.get(id)?.revision ?? 0) >= now.revision) return;
    this.#posted.set(id, now);
    if (!before) {
      // New ones are nearly always the youngest.
      let at = this.#ids.length;
      while (at > 0 && this.#ids[at - 1]! > id) at -= 1;
      this.#ids.splice(at, 0, id);
    }
    this.#tell(id, now, before?.job);
  }

  remove(id: string): void {
    const before = this.#posted.get(id);
    if (!before) return;
    this.#posted.delete(id);
    this.#gone.set(id, { revision: before.revision + 1, owner: before.job.owner });
    if (this.#gone.size > 10_000) this.#gone.delete(this.#gone.keys().next().value!);
    this.#ids = this.#ids.filter((one) => one !== id);
    this.#tell(id, undefined, before.job);
  }

  #tell(id: string, now: Posted | undefined, before: Job | undefined): void {
    for (const whose of [id, undefined]) for (const listener of this.#listeners.get(whose) ?? []) listener(now, before, id);
  }

  /** Hears of one job, or of all, until disposed of. */
  listen(id: string | undefined, listener: Listener): Disposable {
    const all = this.#listeners.get(id) ?? new Set();
    this.#listeners.set(id, all.add(listener));
    return {
      [Symbol.dispose]: () => {
        all.delete(listener);
        if (all.size === 0) this.#listeners.delete(id);
      },
    };
  }

  get(id: string): Posted | undefined {
    return this.#posted.get(id);
  }

  /** Whose a job was that was deleted lately. */
  goneOf(id: string): string | undefined {
    return this.#gone.get(id)?.owner;
  }

  /** From the oldest on, or from the youngest. */
  *jobs(order: "asc" | "desc" = "asc"): Generator<Job> {
    for (const id of order === "asc" ? this.#ids : this.#ids.toReversed()) yield this.#posted.get(id)!.job;
  }

  /** How many jobs wait before this one. */
  position(id: string): number {
    let before = 0;
    for (const one of this.#ids) {
      if (one >= id) break;
      if (this.#posted.get(one)!.job.status === "queued") before += 1;
    }
    return before;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort();
    await this.#watching;
  }
}
