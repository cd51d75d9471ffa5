/** Why a worker takes nothing at the moment: its queue cannot be written or reached, or its clock is off. */
import { causeOf } from "../base/cause.ts";
import { pause } from "../base/pause.ts";
import { type JobBackend, QueueUnusable } from "./backend.ts";
import { clockFault } from "./clock.ts";

/** What is wrong is looked at again after so long; then after twice as long each time, up to the most. */
const FIRST_MS = 500;
const MOST_MS = 15_000;
/** Bytes that a queue must have room for before a worker goes on. */
const PROBE_BYTES = 1 << 20;

export class QueueTrouble {
  #why: string | undefined;

  /** @param worker what it is called @param note told what is wrong, once, and when it is over */
  constructor(
    private readonly backend: JobBackend,
    private readonly worker: string,
    private readonly leaseMs: number,
    private readonly note: (message: string) => void,
  ) {}

  get is(): boolean {
    return this.#why !== undefined;
  }

  /** Something is wrong, which `over` waits for. */
  tell(why: string): void {
    if (!this.is) this.note(`${why}; until then jobs wait, and none is lost`);
    this.#why = why;
  }

  /** A third of a lease is as far as clocks may differ. */
  async checkClock(): Promise<void> {
    // A queue that does not answer is found out otherwise.
    const fault = await this.#clockFault().catch(() => undefined);
    if (fault !== undefined) this.tell(`[jobs] ${fault}`);
  }

  #clockFault(): Promise<string | undefined> {
    return clockFault(this.backend, this.leaseMs / 3);
  }

  /** Until nothing is wrong: the clock is right, and the queue takes what a job would give it. */
  async over(signal: AbortSignal): Promise<void> {
    const { blobs } = this.backend;
    const probe = `probe.${this.worker}`;
    for (let wait = FIRST_MS; this.is; wait = Math.min(2 * wait, MOST_MS)) {
      await pause(wait, signal);
      try {
        this.#why = await this.#clockFault();
        if (this.is) continue;
        await blobs.put(probe, new Uint8Array(PROBE_BYTES));
        await blobs.delete(probe);
        this.note("The queue can be used again");
      } catch (error) {
        const unusable = causeOf(error, QueueUnusable);
        if (!unusable) throw error;
        this.#why = unusable.message;
      }
    }
  }
}
