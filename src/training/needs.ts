/** What training takes on an adapter, told from configs alone: nothing is loaded. */
import { CogwheelError } from "../base/errors.ts";
import { TorchGenerator } from "../diffusion/torch-random.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import type { TransformerConfig } from "../models/cogvideox/config.ts";
import { transformerWeights } from "../models/cogvideox/weights.ts";
import { measurePlans, withResidence } from "../pipelines/requirements.ts";
import { compile, type CompileOptions, type Plan } from "../plan/compile.ts";
import { layersOf, leastResidence, residenceWithin } from "../plan/residence.ts";
import { sharedStates } from "../run/states.ts";
import type { WeightProvider } from "../run/weight-provider.ts";
import { fullParameters } from "./full.ts";
import { loraParameters } from "./lora.ts";
import { optimizerOf } from "./optimizer.ts";
import { priorOf } from "./prior/options.ts";
import { type MicroShape, microStep, type Recipe, untrainedGraph } from "./record.ts";
import type { TrainOptions } from "./options.ts";
import { Stepper } from "./stepper.ts";
import { parameterNames } from "./update.ts";

/** Bytes on the adapter, and what a step is. */
export interface TrainingNeeds {
  readonly shape: MicroShape;
  /** What is trained, in f32. */
  readonly parameters: number;
  /** The optimizer's means, the average, sums of gradients. */
  readonly states: number;
  /** Of the model, as it stays on the device; and room for what comes and goes. */
  readonly frozen: number;
  /** Bytes that are brought in every run, into that room. */
  readonly streamed: number;
  readonly activations: number;
  /** Inputs and outputs. */
  readonly io: number;
  readonly total: number;
  /** The most at any time, loading included. */
  readonly peak: number;
  /** Operations of a whole step. */
  readonly flops: number;
  /** Plans of a step, and how often each runs in it. */
  readonly plans: readonly { readonly plan: Plan; readonly times: number }[];
  /** How frozen weights lie on the device: for `train`. */
  readonly compile: CompileOptions;
}

/** What is planned: a model's config, and how its weights will be stored. */
export interface PlannedTraining {
  readonly config: TransformerConfig;
  readonly weights: Pick<WeightProvider, "type">;
  readonly dtype: "f32" | "f16";
  readonly caps: Capabilities;
}

/**
 * What a step takes on clips of a size, or on packs. Where that is more than `memoryBytes`, frozen weights come and go.
 * @throws where even that is too much, with the least
 */
export function trainingNeeds(
  { config, weights, dtype, caps }: PlannedTraining,
  options: TrainOptions,
  shape: MicroShape,
  memoryBytes = Infinity,
): TrainingNeeds {
  const shapes = transformerWeights(config);
  const trained = options.full
    ? fullParameters(shapes.keys(), options.full === true ? undefined : options.full)
    : loraParameters(shapes, options.lora ?? {}, new TorchGenerator(options.seed ?? 0));
  const recipe: Recipe = {
    config,
    weights,
    dtype,
    trained,
    checkpointing: options.checkpointing ?? "attention",
  };
  const { ema, accumulation = 1 } = options;
  const [micro, ...updates] = Stepper.graphsOf(microStep(recipe, shape), { optimizer: optimizerOf(options.optimizer), ema, accumulation });
  const whole = compile(micro, caps, options.compile ?? {});
  const update = updates.map((graph) => compile(graph, caps));
  const untrained =
    options.prior && priorOf(options.prior).target === "model" ? untrainedGraph(recipe, priorShape(options.prior, shape)) : undefined;
  const before = untrained ? [compile(untrained, caps, options.compile ?? {})] : [];
  const measured = measurePlans("training", [whole, ...update, ...before]);
  const layers = layersOf(whole);
  const found = residenceWithin(layers, (residence) => withResidence(measured, residence).peak <= memoryBytes);
  if (!found)
    throw new CogwheelError(
      "training",
      `a step must fit the memory that is given, got ${memoryBytes} bytes where it takes at least ` +
        `${withResidence(measured, leastResidence(layers)).peak}; give more, or take smaller or fewer clips` +
        (recipe.checkpointing === "pairs" ? "" : ", or checkpointing pairs, which keeps least"),
      { code: "out-of-memory" },
    );
  const needs = withResidence(measured, found);
  const plan = needs.streamed ? compile(micro, caps, { ...options.compile, ...found.options }) : whole;
  const all = sharedStates([whole, ...update]);
  const names = new Set(parameterNames(all.keys()));
  const bytesOf = (which: (name: string) => boolean): number =>
    [...all].reduce((sum, [name, { bytes }]) => sum + (which(name) ? bytes : 0), 0);
  return {
    shape,
    parameters: bytesOf((name) => names.has(name)),
    states: bytesOf((name) => !names.has(name)),
    frozen: needs.weights + needs.slots,
    streamed: needs.streamed ?? 0,
    activations: needs.activations,
    io: needs.io,
    total: needs.total,
    peak: needs.peak,
    flops:
      accumulation * [whole, ...before].reduce((sum, { cost }) => sum + cost.flops, 0) +
      update.reduce((sum, { cost }) => sum + cost.flops, 0),
    plans: [...[plan, ...before].map((plan) => ({ plan, times: accumulation })), ...update.map((plan) => ({ plan, times: 1 }))],
    compile: { ...options.compile, ...found.options },
  };
}

/** Of the prior clips of a micro-step. */
const priorShape = (prior: NonNullable<TrainOptions["prior"]>, shape: MicroShape): MicroShape =>
  "rows" in shape ? shape : { ...shape, clips: Math.ceil(shape.clips * priorOf(prior).share) };
