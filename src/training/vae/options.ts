/** Options of `trainVae`, and the rules that they must keep. */
import { CogwheelError } from "../../base/errors.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import { assertKnown } from "../../graph/known-name.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import type { WorkerReport } from "../../models/vae/split/run.ts";
import type { CompileOptions } from "../../plan/compile.ts";
import type { WeightProvider } from "../../run/weight-provider.ts";
import type { DataOf } from "../batches.ts";
import type { RunIdentity } from "../checkpoint.ts";
import type { OptimizerOptions } from "../optimizer.ts";
import { checkSchedule, type Schedule, toldSchedule } from "../schedule.ts";
import { placesOf, type StagePlace } from "../stages.ts";
import { type DiscriminatorConfig, discriminatorConfig } from "../../models/discriminator/config.ts";
import type { LpipsDigests } from "../../models/lpips/open.ts";
import type { LpipsJudge } from "./judges.ts";
import type { LogVarianceOptions } from "./log-variance.ts";
import type { AdaptiveBounds, GradientPenalty, VaeWeights } from "./losses.ts";
import { vaeOptimizers } from "./optimizers.ts";
import { type Passes, PASSES } from "./passes.ts";
import { type TrainedPart, VAE_CHECKPOINTING, VAE_PARTS } from "./record.ts";
import type { GivenPixels } from "./sample.ts";
import type { PieceWorkers } from "./workers/types.ts";

/** A VAE that can be trained. */
export interface TrainableVae {
  readonly gpu: Gpu;
  readonly config: VaeConfig;
  readonly weights: WeightProvider;
}

/** What losses count where nothing is said. */
export const LOSS_WEIGHTS: VaeWeights = { l1: 1, mse: 0, perceptual: 0, kl: 1e-6, disc: 0 };

/** A stage of a VAE's training: its steps and sizes, and what differs from the whole run's options. */
export interface VaeStageOptions {
  /** Steps of the stage. */
  readonly steps: number;
  /** Default: the run's data. */
  readonly data?: DataOf<GivenPixels>;
  /** Default: the run's. */
  readonly lr?: number;
  readonly batch?: number;
  readonly crop?: number;
  readonly losses?: Partial<VaeWeights>;
}

/** A discriminator, and how it is trained. */
export interface DiscriminatorTraining {
  /** What is left out is as published: `ndf` 64, 3 `n_layers` of `kernel_size` 3, batch norms. */
  readonly config?: Partial<DiscriminatorConfig>;
  /** The first step, from 0, in which it is asked and learns. Default 0. */
  readonly start?: number;
  /** Its full learning rate, which falls by the same schedule. Default: the stage's. */
  readonly lr?: number;
  /** Its own optimizer. Default: the run's. */
  readonly optimizer?: OptimizerOptions;
  /** What it begins with, by its own names. Default: drawn, as published ones are. */
  readonly initial?: ReadonlyMap<string, Float32Array>;
  /** Bounds of the weight that lengths of gradients give. */
  readonly adaptive?: AdaptiveBounds;
  /** What the length of its gradient with respect to the clips costs. Default: nothing. */
  readonly penalty?: GradientPenalty;
}

/** What `trainVae` takes beside the VAE and its data. */
export interface TrainVaeOptions {
  /** Steps of the run; one in stages has theirs. */
  readonly steps?: number;
  readonly stages?: readonly VaeStageOptions[];
  /** Default `decoder`: latents stay as they are. */
  readonly part?: TrainedPart;
  /** Begin with weights that are drawn, as torch draws them, in place of the checkpoint's. Default false. */
  readonly scratch?: boolean;
  readonly losses?: Partial<VaeWeights>;
  /** A network whose features are compared (LPIPS), where `perceptual` counts and for `distance`: as `openLpips` gives it. */
  readonly lpips?: LpipsJudge;
  /** A discriminator that is trained in turn with the VAE, where `disc` counts. */
  readonly discriminator?: DiscriminatorTraining;
  /** Is the decoder given latents that are drawn from the posterior, or its mean? Default `sample`. */
  readonly latents?: "sample" | "mean";
  /** Are norms taken over batches of frames, as in use, or over the whole clip? Default `batches`. */
  readonly statistics?: "batches" | "clip";
  /**
   * Does a clip go through in one graph, or batch of frames after batch of frames, in the memory of one batch? Default `auto`: by batches
   * where it is large or long. Gradients are the same, within rounding.
   */
  readonly passes?: Passes;
  /** LPIPS of all frames, or of one of each clip, drawn anew for every step, as published runs have it. Default `all`. */
  readonly perceptualFrames?: "all" | "one";
  /** A log-variance by which the reconstruction counts. Default: it counts as it is. */
  readonly logVariance?: LogVarianceOptions;
  /**
   * Clips are split in time over workers: so many virtual ones of this process, or those that are given, whose owner ends them. However
   * many there are, a run has the bytes of one. Default: none.
   */
  readonly workers?: number | PieceWorkers;
  /** Default: AdamW. Muon leaves the first and last convolutions of encoder, decoder and discriminator to AdamW unless `adamOnly` is given. */
  readonly optimizer?: OptimizerOptions;
  readonly schedule?: Schedule;
  /** Clips of a micro-step. Default 1. */
  readonly batch?: number;
  /**
   * Pixels of a side of the square window of a clip that is learned from, drawn anew each time; a multiple of the VAE's spatial ratio (8).
   * Default: the whole clip.
   */
  readonly crop?: number;
  /** Micro-steps of a step. Default 1. */
  readonly accumulation?: number;
  /** Default 1; Infinity for no clipping. */
  readonly maxGradNorm?: number;
  /** Keeps a moving average of what is trained. Default: none is kept. */
  readonly ema?: { readonly decay: number };
  /**
   * Means of gradients lie in the host's memory between updates, which have 128 MB of them on the device at a time. A step has the same
   * bytes, and moves all means there and back. Default false.
   */
  readonly offload?: boolean;
  /** Storage type of activations that f16 can hold. Default f32. */
  readonly dtype?: "f32" | "f16";
  /** Default `blocks`. */
  readonly checkpointing?: (typeof VAE_CHECKPOINTING)[number];
  /** Decides every draw of the run. Default 0. */
  readonly seed?: number;
  readonly compile?: CompileOptions;
  /** A checkpoint of this run, as `save` gave it: it goes on from there, to the same bytes as if it had never stopped. */
  readonly resume?: Uint8Array;
  /** What else a checkpoint must belong to. */
  readonly identity?: RunIdentity;
  /** Ends the run between two steps: a step that is under way is taken to its end, so that the run can be saved. */
  readonly signal?: AbortSignal;
}

/** The discriminator's part of a step. */
export interface DiscriminatorTurn {
  /** False where its gradients were not finite: its weights have not changed, and its loss says nothing. */
  readonly taken: boolean;
  /** Of all its gradients, before they were clipped. */
  readonly gradNorm: number;
  readonly lossScale: number;
}

/** A step, as the run tells it. */
export interface VaeTrainingStep {
  /** From 1. */
  readonly step: number;
  readonly steps: number;
  /** From 1, of a run in stages. */
  readonly stage?: number;
  /** All losses by their weights. */
  readonly loss: number;
  /** Each by itself. */
  readonly losses: Readonly<Record<string, number>>;
  readonly clips: number;
  readonly gradNorm: number;
  readonly lr: number;
  readonly skipped: boolean;
  readonly lossScale: number;
  readonly flops: number;
  /** Of a step that asked the discriminator. */
  readonly discriminator?: DiscriminatorTurn;
  /** What each worker took for it. */
  readonly workers?: readonly WorkerReport[];
  readonly seconds: number;
}

/** A stage in its place, with what it leaves out as the run has it. */
export interface PlacedVaeStage extends StagePlace {
  readonly data: DataOf<GivenPixels> | undefined;
  readonly lr: number;
  readonly batch: number;
  readonly crop?: number;
  readonly losses: VaeWeights;
}

export function vaeStages(o: TrainVaeOptions): PlacedVaeStage[] {
  const { lr } = vaeOptimizers(o).vae;
  const whole: VaeStageOptions[] = [{ steps: o.steps ?? 0 }];
  return placesOf(o.stages ?? whole).map(({ stage, place }) => {
    const crop = stage.crop ?? o.crop;
    return {
      ...place,
      data: stage.data,
      lr: stage.lr ?? lr,
      batch: stage.batch ?? o.batch ?? 1,
      ...(crop === undefined ? {} : { crop }),
      losses: { ...LOSS_WEIGHTS, ...o.losses, ...stage.losses },
    };
  });
}

/** Does a loss count in any stage? */
export const counts = (o: TrainVaeOptions, loss: keyof VaeWeights): boolean => vaeStages(o).some(({ losses }) => losses[loss] > 0);

const fail = (rule: string): never => {
  throw new CogwheelError("training", rule);
};

/** Throws where options contradict each other or are none. */
export function checkVaeOptions(o: TrainVaeOptions): void {
  const count = (name: string, value: number | undefined, least = 1): void => {
    if (value !== undefined && (!Number.isInteger(value) || value < least))
      fail(`${name} must be a whole number from ${least}, got ${value}; correct it`);
  };
  if (o.stages && (!Array.isArray(o.stages) || o.stages.length === 0))
    fail("stages must be a list of at least one, got none; leave it out");
  if (!o.stages) count("steps", o.steps ?? Number.NaN);
  count("batch", o.batch);
  count("accumulation", o.accumulation);
  if (o.seed !== undefined && !Number.isSafeInteger(o.seed)) fail(`the seed must be a whole number, got ${o.seed}; choose one below 2^53`);
  assertKnown("training", "part", o.part, VAE_PARTS);
  assertKnown("training", "latents", o.latents, ["sample", "mean"]);
  assertKnown("training", "statistics", o.statistics, ["batches", "clip"]);
  assertKnown("training", "passes", o.passes, PASSES);
  if (o.passes === "batches" && o.statistics === "clip")
    fail("norms over a whole clip need all of it at once, got statistics clip with passes batches; leave one of them out");
  if (typeof o.workers !== "object") count("workers", o.workers);
  if (o.workers !== undefined && (o.statistics === "clip" || (o.passes ?? "auto") !== "auto"))
    fail("workers split a clip whose norms are over batches of frames, got statistics or passes with them; leave those out");
  if (o.workers !== undefined && o.perceptualFrames === "one")
    fail("workers compare every frame of their pieces, got perceptualFrames one with them; leave it out");
  assertKnown("training", "checkpointing", o.checkpointing, VAE_CHECKPOINTING);
  assertKnown("training", "perceptualFrames", o.perceptualFrames, ["all", "one"]);
  if (!(Math.abs(o.logVariance?.start ?? 0) <= 30))
    fail(`a log-variance must be a number from −30 to 30, got ${o.logVariance!.start}; 0 is usual`);
  assertKnown("training", "dtype", o.dtype, ["f32", "f16"]);
  checkSchedule(o.schedule ?? {});
  count("discriminator.start", o.discriminator?.start, 0);
  const penalty = o.discriminator?.penalty;
  assertKnown("training", "discriminator.penalty.kind", penalty?.kind, ["r1", "unit"]);
  count("discriminator.penalty.every", penalty?.every);
  if (penalty && !(penalty.weight > 0 && penalty.weight < 1e9))
    fail(`discriminator.penalty.weight must be a number above 0, got ${penalty.weight}; leave the penalty out for none`);
  const stages = vaeStages(o);
  for (const { index, steps, batch, lr, losses } of stages) {
    const name = o.stages ? `stage ${index + 1}: ` : "";
    count(`${name}steps`, steps);
    count(`${name}batch`, batch);
    if (!(lr >= 0 && lr < 1e3)) fail(`${name}lr must be a number from 0, got ${lr}; correct it`);
    for (const [loss, weight] of Object.entries(losses)) {
      assertKnown("training", `${name}a loss`, loss, Object.keys(LOSS_WEIGHTS));
      if (!(weight >= 0 && weight < 1e9)) fail(`${name}what ${loss} counts must be a number from 0, got ${weight}; correct it`);
    }
    if (!(losses.l1 > 0 || losses.mse > 0 || losses.perceptual > 0 || losses.disc > 0))
      fail(`${name}a loss of what is reconstructed must count, got l1 ${losses.l1} and no other; raise one`);
    if (losses.perceptual > 0 && !o.lpips) fail(`${name}perceptual counts by a network, got none; give lpips`);
    if (losses.disc > 0 && !o.discriminator) fail(`${name}disc counts by a discriminator, got none; give one`);
    const warmup = o.schedule?.warmupSteps ?? 0;
    if (warmup >= steps) fail(`${name}the warm-up must be shorter than the stage, got ${warmup} of ${steps} steps; shorten it`);
  }
  if (o.discriminator && !counts(o, "disc"))
    fail("a discriminator is asked where disc counts, got 0; raise it, or leave the discriminator out");
  const all = stages.reduce((sum, { steps }) => sum + steps, 0);
  const start = o.discriminator?.start ?? 0;
  if (o.discriminator && start >= all)
    fail(`a discriminator must begin before the run's end, got step ${start} of ${all}, counted from 0; let it begin sooner`);
  if (o.stages && o.steps !== undefined && o.steps !== all)
    fail(`a run has the steps of its stages, ${all}, got steps ${o.steps}; leave it out`);
}

/** What another value of would make another run of it. @param lpips what tells the network's weights from others */
export function vaeIdentity(o: TrainVaeOptions, { config }: TrainableVae, lpips?: LpipsDigests): RunIdentity {
  return {
    model: config,
    trained: `vae, ${o.part ?? "decoder"}${o.scratch ? ", from scratch" : ""}`,
    optimizer: vaeOptimizers(o).vae,
    schedule: toldSchedule(o.schedule),
    stages: vaeStages(o).map(({ data: _, index: __, before: ___, ...stage }) => stage),
    latents: o.latents ?? "sample",
    statistics: o.statistics ?? "batches",
    ...(o.logVariance ? { logVariance: o.logVariance } : {}),
    ...(o.lpips && counts(o, "perceptual") ? { lpips: { kind: o.lpips.network.kind, ...lpips, frames: o.perceptualFrames ?? "all" } } : {}),
    ...(o.discriminator ? { discriminator: { ...o.discriminator, config: discriminatorConfig(o.discriminator.config) } } : {}),
    accumulation: o.accumulation ?? 1,
    maxGradNorm: String(o.maxGradNorm ?? 1),
    ema: o.ema ?? null,
    dtype: o.dtype ?? "f32",
    seed: o.seed ?? 0,
    ...o.identity,
  };
}
