/** Measures the stages of a generation and passes their progress on. */
import type { Stage } from "./cogvideox/stage-names.ts";

export class StageClock {
  readonly seconds: Partial<Record<Stage, number>> = {};
  readonly #onProgress: ((stage: Stage, done: number, detail?: string) => void) | undefined;
  constructor(onProgress: ((stage: Stage, done: number, detail?: string) => void) | undefined) {
    this.#onProgress = onProgress;
  }
  async time<T>(stage: Stage, work: (report: (done: number, detail?: string) => void) => Promise<T>): Promise<T> {
    const start = performance.now();
    // A stage is done when its work is over, not when the last part of it says so: 1 is told once.
    let over = false;
    this.#onProgress?.(stage, 0);
    const result = await work((done, detail) => {
      if (!over && done < 1) this.#onProgress?.(stage, done, detail);
    }).finally(() => (over = true));
    this.#onProgress?.(stage, 1);
    this.seconds[stage] = (performance.now() - start) / 1000;
    return result;
  }
}
