/** What is slept past the end of work at most, where its length is guessed wrong; after it a wait polls, asleep between polls. */
const LONGEST_SLEEP_MS = 40;

/** Milliseconds of work that are under way at most, where nothing else is asked for. */
const MOST_MS = 250;

/**
 * How much work to have under way. Browsers reset a device that one submit keeps busy for seconds, a cancelled run
 * should stop soon, and a wait should not be begun long before its end (see waitForGpu). So work is submitted in
 * pieces of a known cost, and the adapter's speed is learned from how long they took.
 */
export class Pace {
  /** Operations a millisecond, learned: what to expect of the next submit. */
  #rate: number;
  /** The most ever seen, 0 before: work is not over sooner than that, so a wait may sleep as long. */
  #fastest = 0;
  #outstanding = 0;
  #since = 0;
  readonly #idle: (predictedMs: number, signal?: AbortSignal) => Promise<void>;

  constructor(kind: "hardware" | "software", idle: (predictedMs: number, signal?: AbortSignal) => Promise<void>) {
    this.#rate = kind === "hardware" ? 5e8 : 3e6;
    this.#idle = idle;
  }

  predict(flops: number): number {
    return flops / this.#rate;
  }

  /** Tells of a submit; waits when more than so many milliseconds are under way. */
  async submitted(flops: number, signal?: AbortSignal, mostMs = MOST_MS): Promise<void> {
    if (this.#outstanding === 0) this.#since = performance.now();
    this.#outstanding += flops;
    if (this.predict(this.#outstanding) >= mostMs) await this.drain(signal);
  }

  /**
   * The least milliseconds until what was submitted is done, for a wait to sleep: 0 while no rate is known, and never long. A
   * first dispatch takes a driver seconds to compile, and a wait that sleeps past its work learns its own sleep as the adapter's
   * speed: the next one would sleep for nearly as long again.
   */
  get outstandingMs(): number {
    if (this.#fastest === 0) return 0;
    return Math.min(LONGEST_SLEEP_MS, Math.max(0, this.#outstanding / this.#fastest - (performance.now() - this.#since)));
  }

  async drain(signal?: AbortSignal): Promise<void> {
    const flops = this.#outstanding;
    const predicted = this.outstandingMs;
    const begun = performance.now();
    try {
      await this.#idle(predicted, signal);
    } finally {
      this.#outstanding = 0; // also of a wait that was given up: how long its work took is then unknown
    }
    const now = performance.now();
    const rate = flops / (now - this.#since);
    if (flops > 0 && now > this.#since + 4) {
      this.#rate = 0.5 * this.#rate + 0.5 * rate;
      // Over when it woke, after four fifths (wait-node.ts): nobody knows since when, so the next one sleeps half as long.
      this.#fastest = Math.max(this.#fastest, now - begun < 0.85 * predicted ? 2 * rate : rate);
    }
  }
}
