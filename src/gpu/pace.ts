/**
 * How much work to have under way. Browsers reset a device that one submit keeps busy for seconds, a cancelled run
 * should stop soon, and a wait should not be begun long before its end (see waitForGpu). So work is submitted in
 * pieces of a known cost, and the adapter's speed is learned from how long they took.
 */
export class Pace {
  /** Operations a millisecond, learned. */
  #rate: number;
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

  /** Tells of a submit; waits when more than a few tenths of a second are under way. */
  async submitted(flops: number, signal?: AbortSignal): Promise<void> {
    if (this.#outstanding === 0) this.#since = performance.now();
    this.#outstanding += flops;
    if (this.predict(this.#outstanding) >= 250) await this.drain(signal);
  }

  /** Predicted milliseconds of work that was submitted and not waited for. */
  get outstandingMs(): number {
    return this.#outstanding === 0 ? 0 : Math.max(0, this.predict(this.#outstanding) - (performance.now() - this.#since));
  }

  async drain(signal?: AbortSignal): Promise<void> {
    const flops = this.#outstanding;
    try {
      await this.#idle(this.outstandingMs, signal);
    } finally {
      this.#outstanding = 0; // also of a wait that was given up: how long its work took is then unknown
    }
    const ms = performance.now() - this.#since;
    if (flops > 0 && ms > 5) this.#rate = 0.5 * this.#rate + 0.5 * (flops / ms);
  }
}
