/** `train`: a transformer learns from clips, step by step, as an async iterable. What it runs is loaded with the first step. */
import type { TrainingData } from "./batches.ts";
import type { ExportOptions } from "./export.ts";
import { LazyRun } from "./lazy-run.ts";
import type { Trainable, TrainingStep, TrainOptions } from "./options.ts";
import type { GivenSample } from "./training-sample.ts";
import type { TrainingRun } from "./training-run.ts";

/** Where the paper's table of validation losses has them (CogVideoX, section 3.4). */
export const VALIDATION_TIMESTEPS = [100, 300, 500, 700, 900] as const;

/**
 * Trains a model that is open, or the parts of one. The steps are taken as they are asked for: `for await (const step of train(…))`.
 * Between two of them `save` gives the run, and `adapter` or `transformer` what was learned. Options are judged at the first step.
 */
export function train(model: Trainable, data: TrainingData, options: TrainOptions): Training {
  return new Training(() => import("./training-run.ts").then(({ TrainingRun }) => TrainingRun.open(model, data, options)));
}

/** A run of training: iterate it for its steps, then export what was learned. */
export class Training extends LazyRun<TrainingStep, TrainingRun> {
  /**
   * What the model so far loses on clips that it does not learn from, at fixed timesteps and with fixed noise, by timestep: the mean over
   * the clips. The run goes on as if it had not been asked.
   */
  async validate(
    samples: readonly GivenSample[],
    { timesteps = VALIDATION_TIMESTEPS, signal }: { timesteps?: readonly number[]; signal?: AbortSignal } = {},
  ): Promise<number[]> {
    return await (await this.opened()).validate(samples, timesteps, signal);
  }

  /** The adapter so far, as diffusers' `pytorch_lora_weights.safetensors`. */
  async adapter(options: ExportOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    return await (await this.opened()).adapter(options);
  }

  /** The trained model so far: the files of its transformer's folder, by name. */
  async transformer(options: ExportOptions = {}): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
    return await (await this.opened()).transformer(options);
  }
}
