/**
 * Which of its machine's GPUs a worker takes: one that no other worker of the queue has. What each has stands in the queue's values,
 * `machine.HOST.DIGEST` for an adapter of a machine, with the processes that work on it. One that is gone is found by its number: they are
 * all of one machine.
 *
 * Only GPUs are dealt out. Adapters that run on the CPU are all the same processor, which workers may share, and none of them is taken in
 * the place of a GPU.
 */
import { createHash } from "node:crypto";
import { ownHost } from "../platform/leftovers-node.ts";
import { isRunning, startOf } from "../platform/process-node.ts";
import type { ListedAdapter } from "../platform/types.ts";
import type { KeyValues } from "./backend.ts";
import { readRecord, writeRecord } from "./records.ts";

interface Holder {
  readonly worker: string;
  readonly pid: number;
  /** When the process began: its number may be another's later. */
  readonly start: string;
}

interface Held {
  readonly adapter: string;
  readonly workers: readonly Holder[];
}

export type Adapter = Pick<ListedAdapter, "name" | "kind">;

const isThere = ({ pid, start }: Holder): boolean => isRunning(pid) && (startOf(pid) ?? "0") === start;

const keyOf = (adapter: string): string => `machine.${ownHost}.${createHash("sha256").update(adapter).digest("hex").slice(0, 16)}`;

/** The adapters of this machine that a worker has taken. */
export class OwnAdapter implements AsyncDisposable {
  readonly #me: Holder;
  readonly #taken = new Set<string>();

  constructor(
    private readonly values: KeyValues,
    private readonly worker: string,
    pid: number = process.pid,
  ) {
    this.#me = { worker, pid, start: startOf(pid) ?? "0" };
  }

  /**
   * Takes the first GPU of a list that nobody has, or the one that the fewest have; undefined where there is none. Resolves to its name
   * and to the workers that have it too.
   */
  async choose(adapters: readonly Adapter[]): Promise<{ readonly name: string; readonly others: readonly string[] } | undefined> {
    const names = [...new Set(adapters.filter(({ kind }) => kind === "hardware").map(({ name }) => name))];
    if (names.length === 0) return undefined;
    for (let most = 0; ; most++) {
      for (const name of names) {
        const others = await this.#take(name, most);
        if (others) return { name, others };
      }
    }
  }

  /** Says that this worker has an adapter, whoever has it too: its user chose it. */
  async has({ name, kind }: Adapter): Promise<void> {
    if (kind === "hardware" && !this.#taken.has(name)) await this.#take(name, Number.POSITIVE_INFINITY);
  }

  /** Takes it where no more than so many others have it: who they are. */
  async #take(adapter: string, most: number): Promise<readonly string[] | undefined> {
    let others: readonly Holder[] = [];
    const done = await this.#change(adapter, (there) => {
      others = there;
      return there.length <= most ? [...there, this.#me] : undefined;
    });
    if (!done) return undefined;
    this.#taken.add(adapter);
    return others.map(({ worker }) => worker);
  }

  /** @param change what the other workers that are there become, or undefined to leave it @returns whether it was changed */
  async #change(adapter: string, change: (others: readonly Holder[]) => readonly Holder[] | undefined): Promise<boolean> {
    const key = keyOf(adapter);
    for (;;) {
      const found = await readRecord<Held>(this.values, key);
      const there = (found?.record.workers ?? []).filter((one) => one.worker !== this.worker && isThere(one));
      const workers = change(there);
      if (!workers) return false;
      if (workers.length === 0) {
        if (!found || (await this.values.delete(key, found.revision, "ordered"))) return true;
      } else {
        const held: Held = { adapter, workers };
        if ((await writeRecord(this.values, key, held, found?.revision ?? 0, "ordered")) !== undefined) return true;
      }
    }
  }

  /** Gives back what it has. That it cannot be written is no loss: its process is gone soon. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const adapter of this.#taken) await this.#change(adapter, (others) => others).catch(() => undefined);
  }
}
