/** Training on given batches: noise, timesteps and texts as they come, so that another implementation can be given the same. */
import type { Gpu } from "../gpu/gpu.ts";
import { parameterValues } from "./export.ts";
import type { MicroBatch } from "./micro-batch.ts";
import { optimizerOf } from "./optimizer.ts";
import { rateShare, type Schedule } from "./schedule.ts";
import { Trainer, type TrainerOptions, type TrainingModel } from "./trainer.ts";

export interface TrainStepsOptions extends TrainerOptions {
  readonly schedule?: Schedule;
}

export interface TrainedSteps {
  /** By step: the mean over micro-steps of the mean over clips. */
  readonly loss: readonly number[];
  /** By step: of all gradients, before clipping. */
  readonly gradNorm: readonly number[];
  /** After the last step, by state-dict name; of adapters what `TrainedLora.tensors` reads. */
  readonly values: ReadonlyMap<string, Float32Array>;
  /** The moving average of them, where one is kept. */
  readonly average?: ReadonlyMap<string, Float32Array>;
}

/** @param steps for each step the batches of its micro-steps */
export async function trainSteps(
  gpu: Gpu,
  model: TrainingModel,
  steps: readonly (readonly MicroBatch[])[],
  { schedule = {}, ...options }: TrainStepsOptions,
): Promise<TrainedSteps> {
  using trainer = await Trainer.create(gpu, model, options);
  const { lr } = optimizerOf(options.optimizer);
  const [loss, gradNorm]: [number[], number[]] = [[], []];
  for (const batches of steps) {
    const rate = lr * rateShare(schedule, trainer.progress.updates, steps.length);
    let report = await trainer.step(batches, rate);
    // Another implementation takes every step, so one whose gradients overflow f16 is taken again, with half the scale of the loss.
    while (!report.taken) report = await trainer.step(batches, rate);
    loss.push(report.loss);
    gradNorm.push(report.gradNorm);
  }
  return {
    loss,
    gradNorm,
    values: await parameterValues(gpu, trainer.states),
    ...(options.ema ? { average: await parameterValues(gpu, trainer.states, { average: true }) } : {}),
  };
}
