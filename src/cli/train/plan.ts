/** `cogwheel train --plan`: what a run will take, from configs alone. */
import { bytesText } from "../../base/units.ts";
import type { ClipSizes } from "../../data/clip-size.ts";
import { clipSize } from "../../data/clip-size.ts";
import type { CogVideoX } from "../../pipelines/cogvideox/pipeline.ts";
import { Clock } from "../../plan/seconds.ts";
import { trainingNeeds, type TrainingNeeds } from "../../training/needs.ts";
import { ratesUnlessOff } from "../../tuning/rates.ts";
import { print } from "../terminal/output.ts";
import { duration, type Progress } from "../terminal/progress.ts";
import { table } from "../terminal/table.ts";
import type { TrainConfig } from "./config.ts";

/** What is told, as JSON. */
export interface TrainPlan extends Omit<TrainingNeeds, "plans" | "compile"> {
  readonly adapter: string;
  readonly dtype: "f32" | "f16";
  readonly steps: number;
  /** Of a step; null where nothing may be measured. */
  readonly seconds: number | null;
}

/** What the largest clips of a run take. */
export async function planOf(
  { options, steps, memory }: TrainConfig,
  model: CogVideoX,
  sizes: ClipSizes,
  { progress, signal }: { progress: Progress; signal: AbortSignal },
): Promise<TrainPlan> {
  const { plans, compile: _, ...needs } = needsOf(options, model, sizes, memory);
  const rates = await ratesUnlessOff(model, { signal, onProgress: (done, what) => progress.report("probe", done, what) });
  const clock = rates && new Clock(rates);
  return {
    adapter: model.gpu.name,
    dtype: options.dtype ?? model.dtype,
    steps,
    ...needs,
    seconds: clock ? plans.reduce((sum, { plan, times }) => sum + times * clock.seconds(plan), 0) : null,
  };
}

/** What a step takes on the largest clips, and how frozen weights have to lie for it. */
export function needsOf(options: TrainConfig["options"], model: CogVideoX, sizes: ClipSizes, memory?: number): TrainingNeeds {
  const { rules, configs, defaults } = model;
  const size = clipSize(defaults.width, defaults.height, sizes.resolution, rules.spatial * rules.patchSize);
  const latents = (sizes.frames - 1) / rules.temporal + 1;
  return trainingNeeds(
    { config: configs.transformer, weights: model.transformerTypes, dtype: options.dtype ?? model.dtype, caps: model.gpu.caps },
    options,
    {
      clips: options.batch ?? 1,
      frames: Math.ceil(latents / rules.patchSizeT) * rules.patchSizeT,
      height: size.height / rules.spatial,
      width: size.width / rules.spatial,
      textLength: configs.transformer.max_text_seq_length,
    },
    memory,
  );
}

export function printTrainPlan({ adapter, dtype, steps, seconds, shape, ...n }: TrainPlan): void {
  print(
    `${adapter}, ${dtype}: ${shape.clips} × ${shape.frames} latent frames of ${shape.width} × ${shape.height}, ` +
      `${shape.textLength} text tokens`,
  );
  print(
    table(
      ["on the adapter", "bytes"],
      [
        ["parameters", bytesText(n.parameters, 1)],
        ["the optimizer's states", bytesText(n.states, 1)],
        [n.streamed ? `frozen weights (${bytesText(n.streamed, 1)} come and go)` : "frozen weights", bytesText(n.frozen, 1)],
        ["activations", bytesText(n.activations, 1)],
        ["inputs and outputs", bytesText(n.io, 1)],
        ["in all", bytesText(n.total, 1)],
        ["at the most, while it loads", bytesText(n.peak, 1)],
      ],
    ),
  );
  print(`${(n.flops / 1e12).toPrecision(3)} TFLOP a step`);
  if (seconds !== null)
    print(`about ${duration(seconds)} a step, ${duration(seconds * steps)} for ${steps}, encoding and loading not counted`);
}
