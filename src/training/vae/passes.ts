/** Does a clip go through the VAE in one graph, or batch of frames after batch of frames? Gradients are the same, within rounding. */
import { elements } from "../../base/shape.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import { partsOfClip, type PixelShape } from "./sample.ts";

/** In one graph nothing runs twice but what is computed again; batch after batch it takes the memory of one, and a sixth more work. */
export const PASSES = ["auto", "whole", "batches"] as const;
export type Passes = (typeof PASSES)[number];

/** Beyond either a clip goes by batches: values of the level with the most, of which each takes about 60 bytes; and batches of frames. */
const MOST_VALUES = 2 ** 26;
const MOST_BATCHES = 4;

/** What of a recipe decides it. */
export interface PassedRecipe {
  readonly config: VaeConfig;
  readonly part: "decoder" | "encoder" | "both";
  /** Do all frames go through together, norms over all of them? */
  readonly whole: boolean;
  readonly passes: Passes;
}

/** By sizes alone, so that a run goes on anywhere as it was begun. */
export function goesByBatches({ config, part, whole, passes }: PassedRecipe, shape: PixelShape): boolean {
  if (passes !== "auto") return passes === "batches";
  const batches = partsOfClip(config, shape.frames, whole).length;
  // All frames at once: there is but one batch, and that of the decoder alone is its graph.
  if (whole || (batches === 1 && part === "decoder")) return false;
  const values = elements([shape.clips, shape.frames, shape.height, shape.width, config.block_out_channels[0]!]);
  return batches > MOST_BATCHES || values > MOST_VALUES;
}
