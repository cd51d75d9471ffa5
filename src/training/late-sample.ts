/**
 * Samples that are loaded when they are used. A run that goes on after a break passes by what was learned from before it, and a packer
 * looks at hundreds of clips together: both need the sizes alone.
 */
import type { TransformerConfig } from "../models/cogvideox/config.ts";
import type { TrainingSample } from "./sample.ts";

export interface LateSample {
  /** Of what `load` gives. */
  readonly shape: TrainingSample["shape"];
  /** Tokens of its text. */
  readonly textTokens: number;
  /** The sample itself: the same each time that it is asked for. */
  load(): Promise<TrainingSample>;
}

/** What data may give: samples, or their sizes and how to load them. */
export type GivenSample = TrainingSample | LateSample;

export const textTokens = (sample: GivenSample, { text_embed_dim }: Pick<TransformerConfig, "text_embed_dim">): number =>
  "load" in sample ? sample.textTokens : sample.text.length / text_embed_dim;

export const loaded = async (sample: GivenSample): Promise<TrainingSample> => ("load" in sample ? await sample.load() : sample);
