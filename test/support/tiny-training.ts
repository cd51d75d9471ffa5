/** A transformer of a few thousand parameters and clips for it, to train in a test. */
import { parseSchedulerConfig } from "../../src/diffusion/config.ts";
import { elements } from "../../src/graph/dtype.ts";
import { parseTransformerConfig } from "../../src/models/cogvideox/config.ts";
import { transformerWeights } from "../../src/models/cogvideox/weights.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import type { TrainingData } from "../../src/training/batches.ts";
import type { Trainable, TrainingStep, TrainOptions } from "../../src/training/options.ts";
import type { TrainingSample } from "../../src/training/training-sample.ts";
import { train } from "../../src/training/train.ts";
import type { TrainingModel } from "../../src/training/trainer.ts";
import { values } from "./compare.ts";
import { memoryWeights, testGpu } from "./gpu.ts";
import { TINY_CONFIGS } from "./tiny-configs.ts";

export interface TinyTransformer extends TrainingModel {
  readonly gpu: Gpu;
  readonly values: Record<string, { data: Float32Array; shape: readonly number[] }>;
}

/** @param changes to the tiny config @param dtype of its matrices on the device */
export async function tinyTransformer(changes: Record<string, unknown> = {}, dtype: "f32" | "f16" = "f32"): Promise<TinyTransformer> {
  const config = parseTransformerConfig({ ...TINY_CONFIGS.transformer, ...changes });
  const drawn = Object.fromEntries(
    [...transformerWeights(config)].map(([name, shape], i) => {
      const inner = shape.length > 1 ? elements(shape.slice(1)) : 16;
      const ones = /norm\w*\.weight$/.test(name) && shape.length === 1;
      return [name, { data: values(elements(shape), i + 1, 1 / Math.sqrt(inner)).map((v) => v + +ones), shape }];
    }),
  );
  return {
    gpu: await testGpu(),
    config,
    scheduler: parseSchedulerConfig(TINY_CONFIGS.scheduler),
    weights: memoryWeights(drawn, dtype),
    values: drawn,
  };
}

/** Clips of two colours, each with a text of its own. @param sizes of them in turn */
export function tinyClips(
  { config: c }: TrainingModel,
  count: number,
  sizes: readonly (readonly [frames: number, height: number, width: number])[] = [[3, 2, 4]],
): TrainingSample[] {
  return Array.from({ length: count }, (_, i) => {
    const [frames, height, width] = sizes[i % sizes.length]!;
    const shape = [frames, c.out_channels, height, width] as const;
    const extra = c.in_channels - c.out_channels;
    return {
      shape,
      latents: values(elements(shape), i + 1, 0.1).map((v) => v + (i % 2 ? 1 : -1)),
      text: values(c.max_text_seq_length * c.text_embed_dim, 1000 + (i % 2)),
      ...(extra ? { condition: values(extra * height * width, 2000 + i) } : {}),
    };
  });
}

/** A run up to its end, or to a step: what it told, and what it was saved as. */
export async function taken(
  model: Trainable,
  data: TrainingData,
  options: TrainOptions,
  until = Infinity,
): Promise<{ steps: TrainingStep[]; saved: Uint8Array<ArrayBuffer> }> {
  await using run = train(model, data, options);
  const steps: TrainingStep[] = [];
  for await (const step of run) {
    steps.push(step);
    if (step.step === until) break;
  }
  return { steps, saved: await run.save() };
}
