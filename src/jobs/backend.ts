/**
 * Where jobs are kept: a folder for one machine, NATS JetStream for several. The key-value store is the truth. The queue is a hint: it may
 * name a job twice, or one that is done, and what it forgets a sweep finds in the store.
 */

import { CogwheelError } from "../base/errors.ts";

/**
 * The store cannot be written or reached: its disk is full, its server away. No job is at fault, so that none is failed for it: work waits
 * until the store can be used again.
 */
export class QueueUnusable extends CogwheelError {
  constructor(rule: string, options?: { cause?: unknown }) {
    super("jobs", rule, options);
  }
}

/**
 * What a loss of power leaves of a write. One that has returned survives a kill, however it is written.
 *
 * - `synced`: all of it. What others are promised is written so: an accepted job, a result.
 * - `ordered`: it, or what was there before, whole. For what is written again and again, as far as a job is.
 * - `unsynced`: it, a part, or nothing. For what is of no use after a loss of power: what two workers give each other.
 */
export type Sync = "synced" | "ordered" | "unsynced";

/** A value and the number of its revision, which `put` compares. */
export interface Entry {
  readonly value: Uint8Array;
  /** 1 and more; each change makes it larger. */
  readonly revision: number;
}

export interface Change {
  readonly key: string;
  /** Undefined where the key was deleted. */
  readonly entry: Entry | undefined;
}

/** Keys are `word(.word)*` of letters, digits, `-` and `_`, such as `job.video_01ab`. Values are small: at most 1 MB. */
export interface KeyValues {
  get(key: string): Promise<Entry | undefined>;
  /** Keys that begin with `prefix`, sorted. */
  keys(prefix: string): Promise<string[]>;
  /**
   * Compare-and-set: writes only where the key's revision is `expected` (0: where there is none), and returns the new revision, or
   * undefined where another was faster. What was returned survives a kill. @param sync default `synced`
   */
  put(key: string, value: Uint8Array, expected: number, sync?: Sync): Promise<number | undefined>;
  /** The same rule as `put`; true where it was deleted. */
  delete(key: string, expected: number, sync?: Sync): Promise<boolean>;
  /** Changes of keys that begin with `prefix`, from now on, until `signal` aborts. */
  watch(prefix: string, signal: AbortSignal): AsyncIterable<Change>;
}

/** Large values by name: latents after each step, pictures, videos. Names are like keys; a put replaces the whole, at once. */
export interface Blobs {
  /** @param sync default `synced` */
  put(name: string, bytes: Uint8Array, sync?: Sync): Promise<void>;
  /** Bytes from `begin` to before `end`, by default all; undefined where there is no such blob. */
  get(name: string, begin?: number, end?: number): Promise<Uint8Array | undefined>;
  size(name: string): Promise<number | undefined>;
  delete(name: string): Promise<void>;
}

/** A hint of work that someone may take. */
export interface Hint {
  readonly job: string;
  /** Says that it is being worked on, so that it is not given to another. */
  working(): Promise<void>;
  /** Takes it out of the queue. */
  done(): Promise<void>;
  /** Gives it back, to be given again after `delayMs`. */
  release(delayMs?: number): Promise<void>;
}

export interface Hints {
  /** @param how.lost whoever took the last hint of this job is not heard of any more: another is given at once, not when its time is over */
  push(job: string, how?: { readonly lost?: boolean }): Promise<void>;
  /** The next one; waits until there is one, or rejects with the signal's reason. */
  pull(signal: AbortSignal): Promise<Hint>;
}

export interface JobBackend extends AsyncDisposable {
  /** For people: `the folder /…`, `nats://host:4222`; without credentials. */
  readonly name: string;
  readonly values: KeyValues;
  readonly blobs: Blobs;
  readonly hints: Hints;
  /** What the store's own clock says, in milliseconds since 1970: leases are judged by it. */
  now(): Promise<number>;
}
