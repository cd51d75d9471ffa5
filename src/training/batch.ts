/** What a micro-step computes: clips of one size with their noise, timesteps and texts; and the coefficients that follow from them. */
import { CogwheelError } from "../base/errors.ts";
import type { SchedulerConfig } from "../diffusion/config.ts";
import { alphasCumprod } from "../diffusion/noise-schedule.ts";
import type { TransformerConfig } from "../models/cogvideox/config.ts";

/** The sizes that a graph is compiled for. */
export interface BatchShape {
  readonly clips: number;
  /** Latent frames, rows and columns. */
  readonly frames: number;
  readonly height: number;
  readonly width: number;
  readonly textLength: number;
}

/** Clips of a micro-step; B clips, F latent frames, C channels, H × W, T text tokens, E their width. */
export interface Batch {
  readonly shape: BatchShape;
  /** [B, F, C, H, W]: clean latents, scaled as the model takes them. */
  readonly latents: Float32Array;
  /** [B, F, C, H, W] of standard noise. */
  readonly noise: Float32Array;
  /** [B]: whole numbers from 0. */
  readonly timesteps: readonly number[];
  /** [B, T, E] */
  readonly text: Float32Array;
  /** [B, F, C2, H, W]: an image's or a control video's latents, for models that take them. */
  readonly condition?: Float32Array;
  /** [B], for models that have the embedding. Default 2. */
  readonly ofs?: readonly number[];
  /** [B]: what each clip's loss counts in what is differentiated. Default 1. */
  readonly weights?: readonly number[];
}

/** `ofs` of every published checkpoint that has the embedding. */
export const OFS = 2;

/** Names what tells one compiled graph from another. */
export const shapeKey = ({ clips, frames, height, width, textLength }: BatchShape): string =>
  `${clips}×[${frames}, ${height}, ${width}] + ${textLength}`;

/** √ᾱ and √(1 − ᾱ) by timestep, in float32 as the reference takes them: of ᾱ rounded to float32. */
export class NoiseLevels {
  readonly #alphas: Float32Array;
  constructor(config: SchedulerConfig) {
    if (config.prediction_type !== "v_prediction")
      throw new CogwheelError(
        "training",
        `the scheduler's prediction_type must be v_prediction, got ${config.prediction_type}; train a model that predicts velocity`,
      );
    this.#alphas = Float32Array.from(alphasCumprod(config));
  }

  get count(): number {
    return this.#alphas.length;
  }

  /**
   * [B, 4]: signal and sigma of each clip, what a square counts in the clip's mean, and the slope of the scalar that is differentiated:
   * lossScale times the mean over clips, by their weights, and micro-steps.
   */
  table({ timesteps, shape, latents, weights }: Batch, micros: number, lossScale: number): Float32Array<ArrayBuffer> {
    const values = latents.length / shape.clips;
    const table = new Float32Array(4 * shape.clips);
    for (const [clip, t] of timesteps.entries()) {
      const weight = (lossScale / shape.clips / micros) * (weights?.[clip] ?? 1);
      table.set(this.row(t, values, weight), 4 * clip);
    }
    return table;
  }

  /**
   * A clip's row: signal and sigma at its timestep, what a square counts in the mean of its `values`, and the slope of the scalar that is
   * differentiated, in which that mean counts `weight`.
   */
  row(timestep: number, values: number, weight: number): readonly [number, number, number, number] {
    const alpha = this.#alphas[timestep]!;
    return [Math.sqrt(alpha), Math.sqrt(Math.fround(1 - alpha)), 1 / values, (2 * weight) / values];
  }
}

/** Throws where a batch is not whole, or not one that the model takes. */
export function checkBatch(batch: Batch, c: TransformerConfig, levels: number): void {
  const { shape: s, timesteps, latents, noise, text, condition, ofs, weights } = batch;
  const pixels = s.clips * s.frames * s.height * s.width;
  const want = (what: string, got: number | undefined, size: number): void => {
    if (got !== size)
      throw new CogwheelError("training", `${what} must hold ${size} values for ${shapeKey(s)}, got ${got ?? "none"}; check its shape`);
  };
  want("latents", latents.length, pixels * c.out_channels);
  want("noise", noise.length, pixels * c.out_channels);
  want("text", text.length, s.clips * s.textLength * c.text_embed_dim);
  want("timesteps", timesteps.length, s.clips);
  if (ofs) want("ofs", ofs.length, s.clips);
  if (weights) want("weights", weights.length, s.clips);
  if (c.in_channels > c.out_channels) want("condition", condition?.length, pixels * (c.in_channels - c.out_channels));
  else if (condition)
    throw new CogwheelError("training", `this model takes no condition, got ${condition.length} values; leave it out, or train another`);
  const wrong = timesteps.find((t) => !Number.isInteger(t) || t < 0 || t >= levels);
  if (wrong !== undefined) throw new CogwheelError("training", `timesteps must be whole numbers from 0 to ${levels - 1}, got ${wrong}`);
  const [pt, p] = [c.patch_size_t ?? 1, c.patch_size];
  if (s.frames % pt || s.height % p || s.width % p)
    throw new CogwheelError(
      "training",
      `latents must be whole patches of ${pt} × ${p} × ${p}, got ${s.frames} × ${s.height} × ${s.width}; pad or crop them`,
    );
}
