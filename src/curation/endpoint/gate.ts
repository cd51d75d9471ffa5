/** How many requests are under way at a time, and when none may be sent: what a server asks one of them to wait for holds for all. */
import { pause } from "../../base/pause.ts";

export class Gate {
  #free: number;
  #shutUntil = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(readonly width: number) {
    this.#free = width;
  }

  /** Does the work when there is room for it. */
  async through<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    await this.#enter(signal);
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
    }
  }

  async #enter(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    if (this.#free > 0) {
      this.#free--;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const enter = (): void => {
        signal?.removeEventListener("abort", stop);
        resolve();
      };
      const stop = (): void => {
        const at = this.#waiting.indexOf(enter);
        if (at >= 0) this.#waiting.splice(at, 1);
        reject(signal!.reason as Error);
      };
      this.#waiting.push(enter);
      signal?.addEventListener("abort", stop, { once: true });
    });
  }

  /** Nothing is sent for so many seconds. */
  shut(seconds: number): void {
    this.#shutUntil = Math.max(this.#shutUntil, performance.now() + 1000 * seconds);
  }

  /** Resolves when something may be sent. */
  async open(signal?: AbortSignal): Promise<void> {
    for (let left = this.#shutUntil - performance.now(); left > 0; left = this.#shutUntil - performance.now()) await pause(left, signal);
  }
}
