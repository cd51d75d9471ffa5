/** Measures the stages of a generation and passes their progress on. */
import type { Stage } from "./cogvideox/stage-names.ts";
import type { Overall, OverallProgress } from "./overall.ts";

type OnProgress = (stage: Stage, done: number, detail?: string, overall?: OverallProgress) => void;

export class StageClock {
  readonly seconds: Partial<Record<Stage, number>> = {};
  constructor(
    private readonly onProgress: OnProgress | undefined,
    private readonly overall: Overall | undefined,
  ) {}

  async time<T>(stage: Stage, work: (report: (done: number, detail?: string) => void) => Promise<T>): Promise<T> {
    const start = performance.now();
    // A stage is done when its work is over, not when the last part of it says so: 1 is told once.
    let over = false;
    this.#tell(stage, 0);
    const result = await work((done, detail) => {
      if (!over && done < 1) this.#tell(stage, done, detail);
    }).finally(() => (over = true));
    this.#tell(stage, 1);
    this.seconds[stage] = (performance.now() - start) / 1000;
    return result;
  }

  #tell(stage: Stage, done: number, detail?: string): void {
    this.onProgress?.(stage, done, detail, this.overall?.at(stage, done));
  }
}
