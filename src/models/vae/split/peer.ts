/**
 * What a worker of a split clip sees of the others: bytes, put and got under the name of a region. Whatever carries them (this process,
 * pipes, a network) is behind this interface.
 */
import { CogwheelError } from "../../../base/errors.ts";

export interface Peer {
  /** Which worker this is, and how many there are. */
  readonly index: number;
  readonly count: number;
  /** Gives another worker a region of this one's; the bytes are the peer's from then on. A region is put once for each reader. */
  put(to: number, region: string, bytes: Uint8Array<ArrayBuffer>): void | Promise<void>;
  /** A region that another worker puts, once it is there; rejects when that worker, or any other, has ended before its work was done. */
  get(from: number, region: string, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>>;
}

/** Regions that are underway between workers, each put once and got once, in either order. */
export class Board {
  readonly #there = new Map<string, Uint8Array<ArrayBuffer>>();
  readonly #awaited = new Map<string, { resolve(bytes: Uint8Array<ArrayBuffer>): void; reject(error: unknown): void }>();
  #failed: { readonly error: unknown } | undefined;

  put(region: string, bytes: Uint8Array<ArrayBuffer>): void {
    const waiting = this.#awaited.get(region);
    this.#awaited.delete(region);
    if (waiting) waiting.resolve(bytes);
    else if (this.#there.has(region))
      throw new CogwheelError("vae", `a region is put once, got "${region}" twice; name one of them otherwise`);
    else this.#there.set(region, bytes);
  }

  get(region: string, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    return new Promise((resolve, reject) => {
      if (this.#failed) return reject(this.#failed.error as Error);
      if (signal?.aborted) return reject(signal.reason as Error);
      const found = this.#there.get(region);
      if (found) {
        this.#there.delete(region);
        return resolve(found);
      }
      const stop = (): void => {
        this.#awaited.delete(region);
        reject(signal!.reason as Error);
      };
      signal?.addEventListener("abort", stop, { once: true });
      const over = (): void => signal?.removeEventListener("abort", stop);
      this.#awaited.set(region, {
        resolve: (bytes) => (over(), resolve(bytes)),
        reject: (error) => (over(), reject(error as Error)),
      });
    });
  }

  /** A worker has ended: nobody gets anything any more. */
  fail(error: unknown): void {
    this.#failed ??= { error };
    for (const { reject } of this.#awaited.values()) reject(error);
    this.#awaited.clear();
    this.#there.clear();
  }
}

/** The peers of workers that share this process. */
export function localPeers(count: number, board: Board): Peer[] {
  const named = (from: number, to: number, region: string): string => `${from} > ${to} ${region}`;
  return Array.from({ length: count }, (_, index) => ({
    index,
    count,
    put: (to, region, bytes) => board.put(named(index, to, region), bytes),
    get: (from, region, signal) => board.get(named(from, index, region), signal),
  }));
}

/**
 * The work of all workers that share this process, at once. When one fails, the others get nothing any more; its error is thrown when all
 * have ended, so that what they work with can go then.
 */
export async function amongPeers<T>(count: number, work: (peer: Peer) => Promise<T>): Promise<T[]> {
  const board = new Board();
  const ended = await Promise.allSettled(
    localPeers(count, board).map(async (peer) => {
      try {
        return await work(peer);
      } catch (error) {
        board.fail(error);
        throw error;
      }
    }),
  );
  return ended.map((one) => {
    if (one.status === "rejected") throw one.reason;
    return one.value;
  });
}
