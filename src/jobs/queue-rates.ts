/** How fast a queue carries what two workers give each other. */
import type { JobBackend } from "./backend.ts";
import { deleteExchange, StorePeer } from "./store-peer.ts";

export interface QueueRates {
  /** From where a small region is given to where the one who waits for it has it. */
  readonly turnSeconds: number;
  readonly bytesPerSecond: number;
}

const TIMES = 9;
const SMALL_BYTES = 1_000;
const PROBE_BYTES = 2_000_000;
const [GIVER, TAKER] = [0, 1] as const;

/**
 * Gives regions the way that workers do: one writes, the other is told and takes. Both are in this process, which has nothing else to do;
 * workers that share a processor wait longer. @param bytes of the large one; default 2 MB
 */
export async function measureQueue(store: Pick<JobBackend, "values" | "blobs">, bytes: number = PROBE_BYTES): Promise<QueueRates> {
  const name = `measure.${crypto.randomUUID().slice(0, 8)}`;
  try {
    await using giver = new StorePeer(store, name, GIVER, 2);
    await using taker = new StorePeer(store, name, TAKER, 2);
    const seconds = async (region: string, size: number): Promise<number> => {
      const began = performance.now();
      const taken = taker.get(GIVER, region);
      await Promise.all([giver.put(TAKER, region, new Uint8Array(size)), taken]);
      return (performance.now() - began) / 1000;
    };
    await seconds("first", SMALL_BYTES); // the taker begins to watch
    const turns: number[] = [];
    for (let n = 0; n < TIMES; n++) turns.push(await seconds(`small ${n}`, SMALL_BYTES));
    const turnSeconds = turns.sort((a, b) => a - b)[Math.floor(TIMES / 2)]!;
    const large = await seconds("large", bytes);
    return { turnSeconds, bytesPerSecond: bytes / Math.max(large - turnSeconds, large / 10) };
  } finally {
    await deleteExchange(store, name).catch(() => undefined);
  }
}
