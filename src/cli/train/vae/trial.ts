/** Every stage of a run is tried before its first step: its graphs are recorded, for the largest clips, so that nothing wrong ends a long run. */
import { CogwheelError } from "../../../base/errors.ts";
import { clipSize } from "../../../data/clip-size.ts";
import type { VideoVae } from "../../../pipelines/video-vae.ts";
import { clipGraphs } from "../../../training/vae/clip-passes.ts";
import { discriminatorMicro } from "../../../training/vae/judges.ts";
import { checkCrop, croppedSize, refusedCrop } from "../../../training/vae/crop.ts";
import { asksDiscriminator, leastOf, tooSmall } from "../../../training/vae/least.ts";
import { type PlacedVaeStage, type TrainableVae, type TrainVaeOptions, vaeStages } from "../../../training/vae/options.ts";
import { goesByBatches } from "../../../training/vae/passes.ts";
import { vaeMicro } from "../../../training/vae/record.ts";
import type { PixelShape } from "../../../training/vae/sample.ts";
import { vaeRecipe } from "../../../training/vae/trained.ts";
import { dealOf } from "../../../training/vae/workers/engine.ts";
import { type VaeStageConfig, vaeSizes } from "./config.ts";

/** The largest clips of a stage, in the VAE's own aspect where a stage has a shorter side alone. */
export function largestShape(stage: VaeStageConfig, vae: VideoVae, clips: number): PixelShape {
  const { config, ratio } = vae;
  const { frames, resolution } = vaeSizes(stage, vae);
  const { width, height } = clipSize(config.sample_width, config.sample_height, resolution, ratio.spatial);
  checkCrop(stage.crop, config);
  const refused = refusedCrop({ frames, height, width }, stage.crop);
  if (refused) throw new CogwheelError("train", refused);
  return { clips, ...croppedSize({ frames, height, width }, stage.crop) };
}

/** Throws for what no step of a stage could be, and names the stage. @param stages as the config has them */
export function tryStages(stages: readonly VaeStageConfig[], vae: VideoVae, options: TrainVaeOptions): void {
  for (const placed of vaeStages(options)) {
    const stage = stages[placed.index]!;
    try {
      tryStage(largestShape(stage, vae, placed.batch), vae, options, placed);
    } catch (error) {
      if (!(error instanceof CogwheelError) || !stage.name) throw error;
      throw new CogwheelError("train", `${stage.name}: ${error.message.replace(/^\[\w+\] /, "")}`, { cause: error });
    }
  }
}

function tryStage(shape: PixelShape, vae: VideoVae, options: TrainVaeOptions, stage: PlacedVaeStage): void {
  const small = tooSmall(leastOf(options, stage), shape);
  if (small) throw new CogwheelError("train", small);
  const recipe = vaeRecipe({ config: vae.config, weights: typesOf(vae) }, options);
  const { discriminator } = recipe.judges;
  const asked = { lpips: stage.losses.perceptual > 0, discriminator: asksDiscriminator(options, stage) };
  const { workers } = options;
  if (workers !== undefined) dealOf(vae.config, "decode", { ...shape, workers: typeof workers === "number" ? workers : workers.count });
  else if (goesByBatches(recipe, shape)) clipGraphs(recipe, shape, asked);
  else vaeMicro(recipe, shape, asked);
  if (asked.discriminator && discriminator) {
    const penalised = discriminator.penalty !== undefined;
    discriminatorMicro(discriminator, shape, { dtype: recipe.dtype, penalised });
  }
}

/** What graphs ask of weights that are not read. */
export const typesOf = ({ dtype }: VideoVae): TrainableVae["weights"] => ({
  type: () => dtype,
  stored(name) {
    throw new CogwheelError("train", `graphs that are not run read no weights, got asked for ${name}; report this`);
  },
});
