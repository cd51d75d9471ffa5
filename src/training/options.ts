/** Options of `train`, and the rules that they must keep. */
import { CogwheelError } from "../base/errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { assertKnown } from "../graph/known-name.ts";
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import type { CompileOptions } from "../plan/compile.ts";
import type { RunIdentity } from "./checkpoint.ts";
import { type DilocoOptions, dilocoOf } from "./diloco/options.ts";
import { adaptedModules, type LoraOptions, type TrainedLora } from "./lora.ts";
import type { MicroWorkers } from "./micro-workers.ts";
import { optimizerOf, type OptimizerOptions } from "./optimizer.ts";
import { checkPacking, type PackingOptions, toldPacking } from "./packing/packs.ts";
import type { Trained } from "./parameters.ts";
import { type Checkpointing, CHECKPOINTING } from "./record.ts";
import { type PriorOptions, priorOf } from "./prior/options.ts";
import type { SamplingOptions } from "./sample.ts";
import { checkSchedule, type Schedule, toldSchedule } from "./schedule.ts";
import { checkStages, type StageOptions, stagesOf, stepsOf } from "./stages.ts";
import { checkTimestepRange, TIMESTEP_SAMPLINGS } from "./timesteps.ts";
import type { TrainingModel } from "./trainer.ts";

/** What is trained: a model that is open, or the parts of one. */
export type Trainable = CogVideoX | (TrainingModel & { readonly gpu: Gpu });

/** What `train` takes beside the model and its data. */
export interface TrainOptions extends Partial<SamplingOptions> {
  /** Steps of the run; one in stages has theirs. */
  readonly steps?: number;
  /** Stages, one after another, such as of a growing resolution. Default: one, of all steps. */
  readonly stages?: readonly StageOptions[];
  /** An adapter is trained, and this is how; the default where `full` is not given. */
  readonly lora?: LoraOptions;
  /** The model's own weights are trained: all, or those whose state-dict names this takes. */
  readonly full?: true | ((name: string) => boolean);
  /** With `full`: what is trained begins with values drawn by the seed, not with the checkpoint's. */
  readonly scratch?: boolean;
  /** Default: AdamW. */
  readonly optimizer?: OptimizerOptions;
  /** Default: constant, without a warm-up. */
  readonly schedule?: Schedule;
  /** Clips of a micro-step. Default 1. */
  readonly batch?: number;
  /**
   * A micro-step takes clips of any length and size in one sequence, as many as fill a budget of tokens, in place of a batch of one size.
   * Default: it does not.
   */
  readonly packing?: PackingOptions;
  /** Micro-steps of a step, whose gradients are added up. Default 1. */
  readonly accumulation?: number;
  /** Gradients above this norm are scaled down to it; Infinity for no clipping. Default 1. */
  readonly maxGradNorm?: number;
  /** Keeps a moving average of what is trained; its decay rises to this one. Default: none is kept. */
  readonly ema?: { readonly decay: number };
  /** Storage type of weights that are not trained and of activations. Default: the model's. */
  readonly dtype?: "f32" | "f16";
  /** What is kept of a block's forward pass. Default `attention`. */
  readonly checkpointing?: Checkpointing;
  /** This device's number among those that train together, and how many there are. Default 0 of 1. */
  readonly rank?: number;
  readonly ranks?: number;
  /** How frozen weights lie on the device. */
  readonly compile?: CompileOptions;
  /** Compute the gradients of micro-steps in place of this device. They are added up here in their order: the bytes are the same. */
  readonly workers?: MicroWorkers;
  /** Clips of what the model can already do, so that it does not forget that. Default: there are none. */
  readonly prior?: PriorOptions;
  /** Replicas take steps apart, and an outer optimizer steps after each round of them (DiLoCo). Default: there are none. */
  readonly diloco?: DilocoOptions;
  /** A checkpoint of this run, as `save` gave it: it goes on from there, to the same bytes as if it had never stopped. */
  readonly resume?: Uint8Array;
  /** What else a checkpoint must belong to, such as the model's and the data's versions: compared when a run goes on. */
  readonly identity?: RunIdentity;
  /** Ends the run between two steps: a step that is under way is taken to its end, so that the run can be saved. */
  readonly signal?: AbortSignal;
}

/** A round of replicas. */
export interface RoundReport {
  /** Of each replica. */
  readonly steps: number;
  /** Of all replicas, whose gradients were not finite. */
  readonly skipped: number;
  /** Bytes that the side of the run gave to those who took the round, and took from them; 0 where it took the round itself. */
  readonly sent: number;
  readonly received: number;
}

/** What a clip of a step lost. */
export interface StepClip {
  readonly timestep: number;
  readonly loss: number;
  /** It showed what the model is to keep. */
  readonly prior?: true;
}

/** What is known after a step of training. */
export interface TrainingStep {
  /** From 1. */
  readonly step: number;
  readonly steps: number;
  /** The mean over the step's clips. */
  readonly loss: number;
  /** Timestep and loss of each clip; is it a prior one? */
  readonly clips: readonly StepClip[];
  /** Of all gradients, before clipping. */
  readonly gradNorm: number;
  readonly lr: number;
  /** Gradients were not finite: nothing was changed. */
  readonly skipped: boolean;
  readonly lossScale: number;
  /** The share of the packs' budget that the step's clips filled, where clips are packed. */
  readonly fill?: number;
  /** From 1, of a run in stages. */
  readonly stage?: number;
  /** Of a run by DiLoCo, in which this is a round: the last of its steps, and what all of them and all replicas came to. */
  readonly round?: RoundReport;
  /** Operations of the step, as planned. */
  readonly flops: number;
  /** That the step took. */
  readonly seconds: number;
}

/** One text in ten and one image in twenty are left out, as in CogVideoX's own training. */
export const samplingOptions = (o: TrainOptions): SamplingOptions => ({
  seed: o.seed ?? 0,
  timesteps: o.timesteps ?? "uniform",
  ...(o.timestepRange ? { timestepRange: o.timestepRange } : {}),
  textDropout: o.textDropout ?? 0.1,
  nullText: o.nullText ?? "zeros",
  conditionDropout: o.conditionDropout ?? 0.05,
});

/** Throws where options contradict each other or are none. */
export function checkOptions(o: TrainOptions): void {
  const count = (name: string, value: number | undefined, least: number): void => {
    if (value !== undefined && (!Number.isInteger(value) || value < least))
      throw new CogwheelError("training", `${name} must be a whole number from ${least}, got ${value}; correct it`);
  };
  const share = (name: string, value: number | undefined): void => {
    if (value !== undefined && !(value >= 0 && value <= 1))
      throw new CogwheelError("training", `${name} must be a share from 0 to 1, got ${value}; correct it`);
  };
  if (o.lora && o.full) throw new CogwheelError("training", "a run trains an adapter or the model, got lora and full; give one of them");
  if (o.scratch && !o.full)
    throw new CogwheelError(
      "training",
      "an adapter learns beside a model's own weights, got scratch without full; leave it out, or set full",
    );
  if (!o.stages) count("steps", o.steps ?? Number.NaN, 1);
  count("batch", o.batch, 1);
  if (o.packing) checkPacking(o.packing);
  if (o.packing && o.batch !== undefined)
    throw new CogwheelError("training", `clips are packed or in batches of one size, got packing and batch ${o.batch}; give one of them`);
  count("accumulation", o.accumulation, 1);
  count("ranks", o.ranks, 1);
  count("rank", o.rank, 0);
  if ((o.rank ?? 0) >= (o.ranks ?? 1)) throw new CogwheelError("training", `rank must be below ranks, got ${o.rank} of ${o.ranks ?? 1}`);
  if (o.seed !== undefined && !Number.isSafeInteger(o.seed))
    throw new CogwheelError("training", `the seed must be a whole number, got ${o.seed}; choose one below 2^53`);
  share("textDropout", o.textDropout);
  share("conditionDropout", o.conditionDropout);
  assertKnown("training", "timesteps", o.timesteps, TIMESTEP_SAMPLINGS);
  if (o.timestepRange) checkTimestepRange(o.timestepRange);
  assertKnown("training", "checkpointing", o.checkpointing, CHECKPOINTING);
  assertKnown("training", "dtype", o.dtype, ["f32", "f16"]);
  if (o.diloco) {
    dilocoOf(o.diloco);
    const beside = (["ema", "rank", "ranks", "workers"] as const).filter((name) => o[name] !== undefined);
    if (beside.length)
      throw new CogwheelError(
        "training",
        `a run by diloco has no ${beside.join(" and no ")} (replicas are its ranks, and an average is of steps one after another), ` +
          `got ${beside.length > 1 ? "them" : "it"}; leave ${beside.length > 1 ? "them" : "it"} out`,
      );
  }
  if (o.prior) priorOf(o.prior);
  if (o.prior && o.scratch)
    throw new CogwheelError("training", "drawn weights know nothing that could be kept, got prior with scratch; leave one of them out");
  checkSchedule(o.schedule ?? {});
  checkStages(o, o.schedule?.warmupSteps ?? 0);
  optimizerOf(o.optimizer);
}

/**
 * Throws where options contradict each other, are none, or are not for this model: what can be told before anything is read or encoded.
 * @param weights shapes of the model's weights, by state-dict name
 */
export function checkOptionsFor(weights: ReadonlyMap<string, readonly number[]>, options: TrainOptions): void {
  checkOptions(options);
  if (!options.full) adaptedModules(weights, options.lora ?? {});
}

/** What another value of would make another run of it. */
export function identityOf(
  o: TrainOptions,
  { config, scheduler }: TrainingModel,
  trained: Trained | TrainedLora,
  dtype: string,
): RunIdentity {
  const draws = samplingOptions(o);
  return {
    model: config,
    scheduler,
    trained:
      "tensors" in trained
        ? { lora: { rank: trained.rank, alpha: trained.alpha, targets: trained.targets } }
        : o.scratch
          ? "full, from scratch"
          : "full",
    optimizer: optimizerOf(o.optimizer),
    schedule: toldSchedule(o.schedule),
    steps: stepsOf(o),
    batch: o.batch ?? 1,
    packing: o.packing ? toldPacking(o.packing) : null,
    ...(o.stages
      ? { stages: stagesOf(o).map(({ steps, lr, batch, packing }) => ({ steps, lr, batch, packing: packing && toldPacking(packing) })) }
      : {}),
    accumulation: o.accumulation ?? 1,
    maxGradNorm: String(o.maxGradNorm ?? 1),
    ema: o.ema ?? null,
    dtype,
    rank: o.rank ?? 0,
    ranks: o.ranks ?? 1,
    ...(o.diloco ? { diloco: dilocoOf(o.diloco) } : {}),
    ...(o.prior ? { prior: priorOf(o.prior) } : {}),
    ...draws,
    nullText: typeof draws.nullText === "string" ? draws.nullText : "given",
    ...o.identity,
  };
}
