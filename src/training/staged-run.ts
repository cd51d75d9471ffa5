/** What runs share whatever model learns in them: how far they are, their steps stage after stage, and how they go on after a break. */
import { CogwheelError } from "../base/errors.ts";
import { restoreRun, type RunIdentity, type RunState, type SavedProgress, saveRun } from "./checkpoint.ts";
import type { StagePlace } from "./stages.ts";

/** Takes the steps. */
export interface StagedTrainer {
  /** What its next step depends on besides its state. */
  progress: Omit<SavedProgress, "step" | "stageUpdates">;
  /** Frees programs: those of the next stage are of other sizes. */
  release(): void;
}

/** What a run does in a stage. */
export interface StepTaking<S, D, T> {
  /** What each step of the stage learns from, from its first step on, in the same order each time. */
  data(stage: S): AsyncGenerator<D, void, void>;
  /** Steps that are taken at once, and learn from one piece of the data; the last of a stage may be fewer. Default 1. */
  readonly atOnce?: number;
  /** Takes a step, from 0 in the run. @param updates that were made in this stage */
  take(data: D, stage: S, step: number, updates: number): Promise<T>;
}

export class StagedRun {
  #step = 0;
  /** Updates that were made before the stage that goes on: a schedule runs in each stage by itself. */
  #stageUpdates = 0;
  #running = false;

  constructor(
    private readonly trainer: StagedTrainer,
    private readonly state: RunState,
    private readonly identity: RunIdentity,
  ) {}

  /** Steps that are done. */
  get step(): number {
    return this.#step;
  }

  /** Goes on from what `save` gave. */
  async restore(checkpoint: Uint8Array): Promise<void> {
    const { step, stageUpdates = 0, ...progress } = await restoreRun(checkpoint, this.state, this.identity);
    this.trainer.progress = progress;
    this.#step = step;
    this.#stageUpdates = stageUpdates;
  }

  async save(signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    const progress = { step: this.#step, stageUpdates: this.#stageUpdates || undefined, ...this.trainer.progress };
    return await saveRun(this.state, progress, this.identity, signal);
  }

  /** The steps that are left, each taken when it is asked for; fewer where the data ends before. */
  async *steps<S extends StagePlace, D, T extends object>(
    stages: readonly S[],
    { data, take, atOnce = 1 }: StepTaking<S, D, T>,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<T & { readonly seconds: number }, void, void> {
    if (this.#running) throw new CogwheelError("training", "a run is iterated over once at a time, got a second loop; end the first");
    this.#running = true;
    try {
      for (const stage of stages) {
        const end = stage.before + stage.steps;
        if (this.#step >= end) continue;
        if (this.#step === stage.before) {
          this.#stageUpdates = this.trainer.progress.updates;
          if (stage.index > 0) this.trainer.release();
        }
        const stream = data(stage);
        // What was learned from before a break.
        for (let i = stage.before; i < this.#step; i += atOnce) await stream.next();
        while (this.#step < end) {
          signal?.throwIfAborted();
          const begun = performance.now();
          const { value, done } = await stream.next();
          if (done) return;
          const taken = await take(value, stage, this.#step, this.trainer.progress.updates - this.#stageUpdates);
          this.#step = Math.min(end, this.#step + atOnce);
          yield { ...taken, seconds: (performance.now() - begun) / 1000 };
        }
      }
    } finally {
      this.#running = false;
    }
  }
}
