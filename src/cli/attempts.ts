/** Results that are written one after another: that one cannot be written is no reason to lose the others. */

export class Attempts {
  readonly failures: unknown[] = [];
  readonly #signal: AbortSignal | undefined;

  /** @param signal ends the attempts: what is thrown once it is aborted is thrown on */
  constructor(signal?: AbortSignal) {
    this.#signal = signal;
  }

  /** Tries; a failure is kept for the end. Resolves to whether it went well. */
  async attempt(work: () => Promise<unknown>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      if (this.#signal?.aborted) throw error;
      this.failures.push(error);
      return false;
    }
  }

  /** Throws what failed, all of it. */
  throwFailures(): void {
    if (this.failures.length === 1) throw this.failures[0];
    if (this.failures.length) throw new AggregateError(this.failures);
  }
}
