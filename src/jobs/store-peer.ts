/**
 * Regions between workers through the store of jobs. Each way between two of them has so many slots, which the giver fills in turn and the
 * taker empties, so that no more than these are underway. A small region is the slot's value itself; a large one is a blob of the slot's
 * name, and the value tells that it is there.
 */
import { linkedAbort } from "../base/linked-abort.ts";
import { pause } from "../base/pause.ts";
import { Board, type Peer } from "../models/vae/split/peer.ts";
import type { Entry, JobBackend } from "./backend.ts";

/** Regions underway from one worker to another. */
const SLOTS = 16;
/** A region of so many bytes goes into a value. */
const INLINE_BYTES = 900_000;
/** What is waited for is looked for so often, whatever a watch tells. */
const LOOK_MS = 1_000;
/** A slot that is full is looked at so often. */
const FULL_MS = 5;
/** After a loss of power none of the two goes on with their exchange. */
const SYNC = "unsynced";

type Store = Pick<JobBackend, "values" | "blobs">;
type Bytes = Uint8Array<ArrayBuffer>;

/** What a slot's value begins with, as JSON and a line's end. */
interface Head {
  readonly region: string;
  /** Is it in the blob of the slot's name? */
  readonly large?: boolean;
}

const slotsOf = (name: string, to: number, from: number): string[] =>
  Array.from({ length: SLOTS }, (_, slot) => `${name}.${to}.${from}.${slot}`);

/** Deletes all that two workers left of an exchange. */
export async function deleteExchange({ values, blobs }: Store, name: string): Promise<void> {
  for (const key of await values.keys(`${name}.`)) {
    const entry = await values.get(key);
    if (entry) await values.delete(key, entry.revision, SYNC);
  }
  // A blob is there before its value is.
  for (const key of [...slotsOf(name, 0, 1), ...slotsOf(name, 1, 0)]) if ((await blobs.size(key)) !== undefined) await blobs.delete(key);
}

/** One of those who exchange regions; disposed of when it takes no more. */
export class StorePeer implements Peer, AsyncDisposable {
  readonly #board = new Board();
  readonly #ended: AbortController & Disposable;
  readonly #listening: Promise<void>[];
  /** Regions that were given, by receiver, and the giving of the last of them. */
  readonly #given = new Map<number, { count: number; last: Promise<void> }>();
  /** Large regions that are there, which keep their slots until they are read: no more than these are in memory or underway. */
  readonly #large = new Map<string, { readonly key: string; readonly revision: number }>();
  /** Revisions of slots that were taken. */
  readonly #taken = new Map<string, number>();

  /**
   * @param name what those who exchange share, and nobody else before or after; part of keys
   * @param signal ends the giving and taking
   */
  constructor(
    private readonly store: Store,
    readonly name: string,
    readonly index: number,
    readonly count: number,
    signal?: AbortSignal,
  ) {
    this.#ended = linkedAbort(signal);
    this.#ended.signal.addEventListener("abort", () => this.#board.fail(this.#ended.signal.reason), { once: true });
    this.#listening = [this.#watch(), this.#look()];
  }

  put(to: number, region: string, bytes: Bytes): void | Promise<void> {
    if (to === this.index) return this.#board.put(`${to} ${region}`, bytes);
    const { count, last } = this.#given.get(to) ?? { count: 0, last: Promise.resolve() };
    const next = last.then(() => this.#give(`${this.name}.${to}.${this.index}.${count % SLOTS}`, region, bytes));
    next.catch(() => undefined); // whoever gave it is told
    this.#given.set(to, { count: count + 1, last: next });
    return next;
  }

  async #give(slot: string, region: string, bytes: Bytes): Promise<void> {
    const { values, blobs } = this.store;
    const large = bytes.length > INLINE_BYTES;
    const value = packed({ region, ...(large ? { large } : {}) }, large ? undefined : bytes);
    if (large) {
      while (await values.get(slot)) await pause(FULL_MS, this.#ended.signal);
      await blobs.put(slot, bytes, SYNC);
    }
    while ((await values.put(slot, value, 0, SYNC)) === undefined) await pause(FULL_MS, this.#ended.signal);
  }

  async get(from: number, region: string, signal?: AbortSignal): Promise<Bytes> {
    const name = `${from} ${region}`;
    const there = await this.#board.get(name, signal);
    const large = this.#large.get(name);
    if (!large) return there;
    const { values, blobs } = this.store;
    const bytes = (await blobs.get(large.key)) as Bytes | undefined;
    if (!bytes) throw new Error(`${region} is gone`);
    this.#large.delete(name);
    await blobs.delete(large.key);
    await values.delete(large.key, large.revision, SYNC);
    return bytes;
  }

  async #watch(): Promise<void> {
    const { signal } = this.#ended;
    while (!signal.aborted)
      try {
        for await (const { key, entry } of this.store.values.watch(this.#prefix, signal)) if (entry) await this.#take(key, entry);
      } catch {
        // The store is not there for a moment.
        await pause(LOOK_MS, signal).catch(() => undefined);
      }
  }

  /** What came before the watch began, or while it was cut off. */
  async #look(): Promise<void> {
    const { signal } = this.#ended;
    for (let wait = 50; !signal.aborted; wait = Math.min(2 * wait, LOOK_MS)) {
      await pause(wait, signal).catch(() => undefined);
      if (signal.aborted) return;
      try {
        for (const key of await this.store.values.keys(this.#prefix)) {
          const entry = await this.store.values.get(key);
          if (entry) await this.#take(key, entry);
        }
      } catch {
        // It is looked for again.
      }
    }
  }

  get #prefix(): string {
    return `${this.name}.${this.index}.`;
  }

  /** Takes a small region out of its slot; of a large one it is known then that it is there. */
  async #take(key: string, { value, revision }: Entry): Promise<void> {
    if ((this.#taken.get(key) ?? 0) >= revision) return;
    this.#taken.set(key, revision);
    try {
      const { head, rest } = unpacked(value);
      const name = `${key.slice(this.#prefix.length).split(".")[0]!} ${head.region}`;
      if (head.large) this.#large.set(name, { key, revision });
      this.#board.put(name, rest);
      if (!head.large) await this.store.values.delete(key, revision, SYNC);
    } catch (error) {
      this.#ended.abort(error);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort(new Error("the exchange is over"));
    await Promise.all(this.#listening);
    await Promise.allSettled([...this.#given.values()].map(({ last }) => last));
    this.#ended[Symbol.dispose]();
  }
}

/** A head in one line, and bytes behind it. */
function packed(head: Head, bytes: Uint8Array = new Uint8Array()): Bytes {
  const line = new TextEncoder().encode(`${JSON.stringify(head)}\n`);
  const out = new Uint8Array(line.length + bytes.length);
  out.set(line);
  out.set(bytes, line.length);
  return out;
}

function unpacked(value: Uint8Array): { head: Head; rest: Bytes } {
  const end = value.indexOf(10);
  const head = JSON.parse(new TextDecoder().decode(value.subarray(0, end))) as Head;
  // A copy, whatever the value is part of.
  return { head, rest: new Uint8Array(value.subarray(end + 1)) };
}
