/** `cogwheel train --plan`: what a run will take, from configs alone. */
import { CogwheelError } from "../../base/errors.ts";
import { bytesText } from "../../base/units.ts";
import { clipSize } from "../../data/clip-size.ts";
import type { CogVideoX } from "../../pipelines/cogvideox/pipeline.ts";
import { tokensOf } from "../../models/cogvideox/packed.ts";
import type { CompileOptions } from "../../plan/compile.ts";
import { Clock } from "../../plan/seconds.ts";
import type { BatchShape } from "../../training/batch.ts";
import { exchangeBytes } from "../../training/diloco/exchange.ts";
import { type Diloco, dilocoOf } from "../../training/diloco/options.ts";
import { trainingNeeds, type TrainingNeeds } from "../../training/needs.ts";
import { capacityOf } from "../../training/packing/packs.ts";
import { ratesUnlessOff } from "../../tuning/rates.ts";
import { print } from "../terminal/output.ts";
import { duration, type Progress } from "../terminal/progress.ts";
import { table } from "../terminal/table.ts";
import type { TrainConfig } from "./config.ts";
import { checkTokens, sizesOf, type StageConfig, stageOptions } from "./stages.ts";

/** What a stage takes, as JSON; of a run without stages, the run. */
export interface StagePlan extends Omit<TrainingNeeds, "plans" | "compile"> {
  readonly steps: number;
  /** Of a step; null where nothing may be measured. */
  readonly seconds: number | null;
}

/** Bytes between the run and its workers in a round of replicas, the clips' apart, which are as many either way. */
export interface PlannedRound {
  readonly steps: number;
  readonly replicas: number;
  /** To each replica, and from each. */
  readonly sent: number;
  readonly received: number;
  /** In all, and what as many steps would exchange whose micro-steps are left to as many workers. */
  readonly all: number;
  readonly dataParallel: number;
}

/** What is told, as JSON. */
export interface TrainPlan extends StagePlan {
  readonly adapter: string;
  readonly dtype: "f32" | "f16";
  /** Of a run in stages. The figures beside are those of the stage that takes the most memory, and of all steps. */
  readonly stages?: readonly StagePlan[];
  /** Of a run by DiLoCo. */
  readonly round?: PlannedRound;
}

/** What the largest clips or packs of every stage take. */
export async function planOf(
  config: TrainConfig,
  model: CogVideoX,
  { progress, signal }: { progress: Progress; signal: AbortSignal },
): Promise<TrainPlan> {
  const { options, stages } = config;
  for (const stage of stages) checkPlanned(model, stage);
  const needs = stages.map((stage) => needsOf(config, model, stage));
  const rates = await ratesUnlessOff(model, { signal, onProgress: (done, what) => progress.report("probe", done, what) });
  const clock = rates && new Clock(rates);
  const planned = needs.map(({ plans, compile: _, ...of }, i) => ({
    steps: stages[i]!.steps,
    ...of,
    seconds: clock ? plans.reduce((sum, { plan, times }) => sum + times * clock.seconds(plan), 0) : null,
  }));
  const most = planned.reduce((a, b) => (a.peak >= b.peak ? a : b));
  return {
    adapter: model.gpu.name,
    dtype: options.dtype ?? model.dtype,
    ...most,
    steps: planned.reduce((sum, { steps }) => sum + steps, 0),
    ...(options.stages ? { stages: planned } : {}),
    ...(options.diloco ? { round: roundOf(dilocoOf(options.diloco), most, options.accumulation) } : {}),
  };
}

function roundOf({ steps, replicas, exchange, innerState }: Diloco, { parameters, states }: StagePlan, accumulation = 1): PlannedRound {
  // Sums of micro-steps' gradients are among the states, and stay where they are.
  const kept = innerState === "kept" ? states - (accumulation > 1 ? parameters : 0) : 0;
  const [sent, received] = [parameters + kept, exchangeBytes(exchange, parameters / 4) + kept];
  // Parameters to each worker in each step, and the gradients of its micro-steps back.
  const dataParallel = steps * replicas * (1 + accumulation) * parameters;
  return { steps, replicas, sent, received, all: replicas * (sent + received), dataParallel };
}

/** How frozen weights lie on the device: as the stage wants it that leaves the least room for them. */
export function streamedWeights(config: TrainConfig, model: CogVideoX): CompileOptions | undefined {
  if (config.memory === undefined) return undefined;
  return config.stages.map((stage) => needsOf(config, model, stage)).reduce((a, b) => (a.streamed >= b.streamed ? a : b)).compile;
}

/** The largest clips of a stage, of the model's own aspect. */
function largestOf(model: CogVideoX, stage: StageConfig): BatchShape {
  const { rules, configs, defaults } = model;
  const sizes = sizesOf(stage, model);
  const size = clipSize(defaults.width, defaults.height, sizes.resolution, rules.spatial * rules.patchSize);
  const latents = (sizes.frames - 1) / rules.temporal + 1;
  return {
    clips: stageOptions(stage).batch ?? 1,
    frames: Math.ceil(latents / rules.patchSizeT) * rules.patchSizeT,
    height: size.height / rules.spatial,
    width: size.width / rules.spatial,
    textLength: configs.transformer.max_text_seq_length,
  };
}

/** Throws where a plan's packs do not hold such a clip; a run asks its data. */
function checkPlanned(model: CogVideoX, stage: StageConfig): void {
  const { textLength: text, ...size } = largestOf(model, stage);
  checkTokens(stage, tokensOf(model.configs.transformer, { ...size, text }).all, "a clip of the model's own aspect");
}

/** What a step takes on the largest clips of a stage, or on its packs. */
function needsOf({ options, keeping, memory }: TrainConfig, model: CogVideoX, stage: StageConfig): TrainingNeeds {
  const { transformer } = model.configs;
  const { packing } = stageOptions(stage);
  try {
    return trainingNeeds(
      { config: transformer, weights: model.transformerTypes, dtype: options.dtype ?? model.dtype, caps: model.gpu.caps },
      keeping ? { ...options, prior: { ...keeping, data: [] } } : options,
      packing ? capacityOf(transformer, packing) : largestOf(model, stage),
      memory,
    );
  } catch (error) {
    if (!stage.name || !(error instanceof CogwheelError)) throw error;
    const { message, code } = error;
    throw new CogwheelError("train", `${stage.name}: ${message.replace(/^\[\w+\] /, "")}`, { cause: error, code });
  }
}

/** @param shared are micro-steps left to workers? */
export function printTrainPlan({ adapter, dtype, stages, round, ...plan }: TrainPlan, shared = false): void {
  print(`${adapter}, ${dtype}`);
  for (const [i, stage] of (stages ?? [plan]).entries()) printStage(stage, stages && `stage ${i + 1} of ${stages.length}: `);
  if (round) {
    const [sent, received, all, gradients] = [round.sent, round.received, round.all, round.dataParallel].map((n) => bytesText(n, 1));
    print(
      `a round of ${round.steps} steps: ${sent} to each of ${round.replicas} replicas, ${received} from each, ` +
        `${all} in all and its clips; ${round.steps} steps whose gradients are exchanged: ${gradients}`,
    );
  } else if (shared) print(`over workers: ${bytesText(plan.parameters, 1)} to each worker a step, and as much from each micro-step`);
  if (!stages) return;
  const sum = (of: (stage: StagePlan) => number): number => stages.reduce((n, stage) => n + stage.steps * of(stage), 0);
  const [work, last] = [sum(({ flops }) => flops), stages.at(-1)!];
  const seconds = stages.some((stage) => stage.seconds === null) ? null : sum((stage) => stage.seconds!);
  print(
    `${plan.steps} steps, ${teraflops(work)} TFLOP${seconds === null ? "" : `, about ${duration(seconds)}`}, ` +
      `as much work as ${Math.round(work / last.flops)} steps of the last stage`,
  );
}

const teraflops = (flops: number): string =>
  flops < 1e15 ? (flops / 1e12).toPrecision(3) : Math.round(flops / 1e12).toLocaleString("en-GB");

function printStage({ shape, ...needs }: StagePlan, name = ""): void {
  print(
    name +
      ("rows" in shape
        ? `packs of ${shape.rows} tokens, ${shape.clips} clips at most`
        : `${shape.clips} × ${shape.frames} latent frames of ${shape.width} × ${shape.height}, ${shape.textLength} text tokens`),
  );
  printNeeds(needs);
}

/** What a stage takes, whatever it is of. */
export function printNeeds(
  { steps, seconds, ...n }: Omit<StagePlan, "shape" | "streamed"> & { readonly streamed?: number },
  beside: readonly (readonly [what: string, bytes: string])[] = [],
): void {
  print(
    table(
      ["on the adapter", "bytes"],
      [
        ["parameters", bytesText(n.parameters, 1)],
        ["the optimizer's states", bytesText(n.states, 1)],
        [n.streamed ? `frozen weights (${bytesText(n.streamed, 1)} come and go)` : "frozen weights", bytesText(n.frozen, 1)],
        ["activations", bytesText(n.activations, 1)],
        ["inputs and outputs", bytesText(n.io, 1)],
        ...beside,
        ["in all", bytesText(n.total, 1)],
        ["at the most, while it loads", bytesText(n.peak, 1)],
      ],
    ),
  );
  print(`${teraflops(n.flops)} TFLOP a step`);
  if (seconds !== null)
    print(`about ${duration(seconds)} a step, ${duration(seconds * steps)} for ${steps}, encoding and loading not counted`);
}
