/** A model as those see it who train it together. */
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { weightsDigests } from "../jobs/weights-digest.ts";
import type { TrainingModel } from "../training/trainer.ts";

export interface RankModel {
  readonly name: string;
  readonly gpu: Gpu;
  /** How its frozen weights are stored on the adapter. */
  readonly dtype: string;
  /** A digest of the transformer's weights and config, however they are stored. */
  readonly weights: string;
  transformer(): Promise<TrainingModel>;
}

/** @param dtype how its weights are stored, where that is not its own type */
export async function rankModel(name: string, model: CogVideoX, dtype: string = model.dtype, signal?: AbortSignal): Promise<RankModel> {
  const components = new Map([...model.checkpoint.components].filter(([component]) => component === "transformer"));
  const { configs, denoise } = await weightsDigests({ components }, ["denoise"], "", signal);
  const weights = `${configs} ${denoise}`;
  return { name, gpu: model.gpu, dtype, weights, transformer: () => model.transformer(signal) };
}
