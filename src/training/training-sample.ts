/**
 * What is learned from: samples, or their sizes and how to load them. A run that goes on after a break passes by what was learned from
 * before it, and a packer looks at hundreds of clips together: both need the sizes alone.
 */
import type { TransformerConfig } from "../models/cogvideox/config.ts";

/** A clip, or a picture, which is a clip of one frame: F latent frames, C channels, H × W; T text tokens of width E. */
export interface TrainingSample {
  /** [F, C, H, W]: scaled as the model takes them. */
  readonly latents: Float32Array;
  readonly shape: readonly [frames: number, channels: number, height: number, width: number];
  /** [T, E]: the text encoder's output. */
  readonly text: Float32Array;
  /**
   * For models that take an image or a control video: its latents [F', C2, H, W] of F' ≤ F frames, after which come zeros. Or a function
   * that makes them, such as one that encodes an image with the noise that is drawn for it.
   */
  readonly condition?: Float32Array | ((draw: ConditionDraw) => Float32Array | Promise<Float32Array>);
}

/** The noise of an image, drawn anew each time that it is used: CogVideoX learns from images with noise of many strengths. */
export interface ConditionDraw {
  /** Its strength in pixels of −1 to 1: exp of a normal of mean −3 and deviation 0.5, so that half of them lie below 0.05. */
  readonly sigma: number;
  /** Standard noise, each call more of it. */
  noise(shape: readonly number[]): Float32Array;
}

/** A sample that is loaded when its step comes, of a shape that is known before. */
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

/** A sample in a run's stream; a prior one shows what the model is to keep (prior/). */
export type StreamedSample = GivenSample & { readonly prior?: true };

export const textTokens = (sample: GivenSample, { text_embed_dim }: Pick<TransformerConfig, "text_embed_dim">): number =>
  "load" in sample ? sample.textTokens : sample.text.length / text_embed_dim;

export const loaded = async (sample: GivenSample): Promise<TrainingSample> => ("load" in sample ? await sample.load() : sample);
