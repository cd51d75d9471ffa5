/**
 * Progressive training (CogVideoX, section 3.2): a run in stages, such as of a growing resolution, one after another. Parameters, the
 * optimizer's means, averages and the loss's scale go on from stage to stage. Each stage has its own data, batches or packs, and learning
 * rate, and the schedule runs anew in it, its warm-up too.
 */
import { CogwheelError } from "../base/errors.ts";
import { assertKnown } from "../graph/known-name.ts";
import type { TrainingData } from "./batches.ts";
import { drawsOf } from "./draws.ts";
import { checkPacking, type PackingOptions } from "./packing/packs.ts";
import type { PriorOptions } from "./prior/options.ts";

/** A stage of a run of training: its steps and sizes, and what differs from the whole run's options. */
export interface StageOptions {
  /** Steps of the stage. */
  readonly steps: number;
  /** Default: the run's data. */
  readonly data?: TrainingData;
  /** Of a run that has `prior`: its clips in this stage. Default: the run's. */
  readonly prior?: TrainingData;
  /** The full learning rate. Default: the run's. */
  readonly lr?: number;
  /** Clips of one size in a micro-step, or packs; where neither is given, as the run has them. */
  readonly batch?: number;
  readonly packing?: PackingOptions;
}

/** Where a stage of a run lies, whatever model learns in it. */
export interface StagePlace {
  /** From 0. */
  readonly index: number;
  /** Steps of the run before it, and its own. */
  readonly before: number;
  readonly steps: number;
}

/** A stage in its place. */
export interface PlacedStage extends StagePlace {
  readonly data: TrainingData | undefined;
  readonly prior: TrainingData | undefined;
  readonly lr: number | undefined;
  readonly batch: number;
  readonly packing: PackingOptions | undefined;
}

/** What of a run's options says how it is divided. */
export interface StagedSteps {
  readonly steps?: number | undefined;
  readonly stages?: readonly StageOptions[] | undefined;
  readonly batch?: number | undefined;
  readonly packing?: PackingOptions | undefined;
  readonly prior?: PriorOptions | undefined;
}

/** Stages with their places, in the run's order. */
export function placesOf<S extends { readonly steps: number }>(stages: readonly S[]): { stage: S; place: StagePlace }[] {
  let before = 0;
  return stages.map((stage, index) => {
    before += stage.steps;
    return { stage, place: { index, before: before - stage.steps, steps: stage.steps } };
  });
}

/** The stages of a run; one that has none is one stage. */
export function stagesOf({ steps = 0, stages, batch = 1, packing }: StagedSteps): PlacedStage[] {
  const whole: StageOptions[] = [{ steps }];
  return placesOf(stages ?? whole).map(({ stage, place }) => {
    const own = stage.batch !== undefined || stage.packing !== undefined;
    return {
      ...place,
      data: stage.data,
      prior: stage.prior,
      lr: stage.lr,
      batch: own ? (stage.batch ?? 1) : batch,
      packing: own ? stage.packing : packing,
    };
  });
}

/** The seed that a stage's data is shuffled by: what one stage did not come to is not left out by the next as well. */
export const stageSeed = (seed: number, index: number): number => (index === 0 ? seed : drawsOf(seed, "stage", index).below(2 ** 31));

/** Steps of a run, of all of its stages. */
export const stepsOf = (o: StagedSteps): number => stagesOf(o).reduce((sum, { steps }) => sum + steps, 0);

const KEYS: readonly (keyof StageOptions)[] = ["steps", "data", "prior", "lr", "batch", "packing"];

/** Throws for stages that no run can have. @param warmupSteps of the schedule, which every stage begins with */
export function checkStages({ steps, stages, prior }: StagedSteps, warmupSteps: number): void {
  if (!stages) return;
  if (!Array.isArray(stages) || stages.length === 0)
    throw new CogwheelError("training", "stages must be a list of at least one, got none; leave it out for a run without stages");
  for (const [i, stage] of stages.entries()) {
    const fail = (rule: string): never => {
      throw new CogwheelError("training", `stage ${i + 1}: ${rule}`);
    };
    for (const name of Object.keys(stage)) assertKnown("training", `an option of stage ${i + 1}`, name, KEYS);
    if (!Number.isInteger(stage.steps) || stage.steps < 1) fail(`steps must be a whole number from 1, got ${stage.steps}; correct it`);
    if (warmupSteps >= stage.steps)
      fail(`the warm-up must be shorter than every stage, got ${warmupSteps} of ${stage.steps} steps; shorten it`);
    if (stage.batch !== undefined && (!Number.isInteger(stage.batch) || stage.batch < 1))
      fail(`batch must be a whole number from 1, got ${stage.batch}; correct it`);
    if (stage.lr !== undefined && !(stage.lr >= 0 && stage.lr < 1e3)) fail(`lr must be a number from 0, got ${stage.lr}; correct it`);
    if (stage.prior && !prior) fail("prior clips of a stage are kept as the run's prior says, got none; give the run prior too");
    if (stage.packing && stage.batch !== undefined)
      fail(`clips are packed or in batches of one size, got packing and batch ${stage.batch}; give one of them`);
    if (stage.packing) checkPacking(stage.packing);
  }
  const all = stages.reduce((sum, stage) => sum + stage.steps, 0);
  if (steps !== undefined && steps !== all)
    throw new CogwheelError("training", `a run has the steps of its stages, ${all}, got steps ${steps}; leave it out`);
}
