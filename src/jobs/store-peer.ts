/**
 * Regions between workers in step, through the store of jobs: each direction has two blobs, written in turn, and a value beside each that
 * says which region lies there. That is enough where nobody gives the next but one region before the other has given its next.
 */
import { linkedAbort } from "../base/linked-abort.ts";
import { pause } from "../base/pause.ts";
import type { Peer } from "../models/vae/split/peer.ts";
import type { JobBackend } from "./backend.ts";
import { readRecord, replaceRecord } from "./records.ts";

/** A region that somebody waits for is looked for so often, whatever a watch tells. */
const LOOK_MS = 1_000;
const SLOTS = [0, 1] as const;

/** What one of the values says. */
interface Note {
  readonly region: string;
}

/** Names of all that two workers who share a job leave in the store. */
export const exchangeNames = (name: string): string[] => ["0-1", "1-0"].flatMap((way) => SLOTS.map((slot) => `${name}.${way}.${slot}`));

export class StorePeer implements Peer {
  #puts = 0;

  /** @param name what the workers share; part of keys */
  constructor(
    private readonly backend: Pick<JobBackend, "values" | "blobs">,
    private readonly name: string,
    readonly index: number,
    readonly count: number,
  ) {}

  async put(to: number, region: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const name = `${this.name}.${this.index}-${to}.${SLOTS[this.#puts++ % 2]}`;
    const { values, blobs } = this.backend;
    // Nobody reads of a region before it is there.
    await blobs.put(name, bytes);
    await replaceRecord(values, name, { region } satisfies Note);
  }

  async get(from: number, region: string, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    const prefix = `${this.name}.${from}-${this.index}.`;
    const { values } = this.backend;
    using ended = linkedAbort(signal);
    try {
      const changes = values.watch(prefix, ended.signal)[Symbol.asyncIterator]();
      let next = changes.next();
      next.catch(() => undefined);
      for (;;) {
        const found = await this.#find(prefix, region);
        if (found) return found;
        signal?.throwIfAborted();
        using look = linkedAbort(ended.signal);
        const changed = await Promise.race([next, pause(LOOK_MS, look.signal).catch(() => undefined)]);
        look.abort();
        if (changed && !changed.done) {
          next = changes.next();
          next.catch(() => undefined);
        }
      }
    } finally {
      ended.abort();
    }
  }

  async #find(prefix: string, region: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const { values, blobs } = this.backend;
    for (const slot of SLOTS) {
      const note = await readRecord<Note>(values, prefix + slot);
      if (note?.record.region === region) return (await blobs.get(prefix + slot)) as Uint8Array<ArrayBuffer> | undefined;
    }
    return undefined;
  }
}

/** Deletes what workers left of an exchange. */
export async function deleteExchange({ values, blobs }: Pick<JobBackend, "values" | "blobs">, name: string): Promise<void> {
  for (const one of exchangeNames(name)) {
    const note = await values.get(one);
    if (!note) continue;
    await blobs.delete(one);
    await values.delete(one, note.revision);
  }
}
