/** Clips to learn from, and how they become batches: padding, noise, timesteps, dropout, each by the model's own rules. */
import { CogwheelError } from "../base/errors.ts";
import { joinedFloats } from "../base/joined.ts";
import { expectFloats } from "../base/finite.ts";
import { elements } from "../base/shape.ts";
import type { TransformerConfig } from "../models/cogvideox/config.ts";
import type { Batch, BatchShape } from "./batch.ts";
import { drawsOf, type RunDraws } from "./draws.ts";
import { drawsOfRank, type TimestepPlace, type TimestepRange, type TimestepSampling, timestepsOf } from "./timesteps.ts";
import { type GivenSample, loaded, type StreamedSample, type TrainingSample, textTokens } from "./training-sample.ts";

/** What is drawn for each step of training: timesteps, noise, captions that are left out. */
export interface SamplingOptions {
  /** Decides every draw of the run. */
  readonly seed: number;
  /** `uniform`: each draw of a step in an interval of its own. */
  readonly timesteps: TimestepSampling;
  /** The first and the last timestep that clips are learned at, the last with the most noise; prior ones are at all. Default: all. */
  readonly timestepRange?: TimestepRange;
  /** Share of clips that are learned without their text. */
  readonly textDropout: number;
  /** What stands for no text: zeros, or the text encoder's output for "" [T, E]. */
  readonly nullText: "zeros" | Float32Array;
  /** Share of clips that are learned without their condition: with zeros. */
  readonly conditionDropout: number;
}

/** Frames that a clip of so many has in the model: 1.5 takes whole patches of two. */
export const paddedFrames = (frames: number, c: Pick<TransformerConfig, "patch_size_t">): number =>
  Math.ceil(frames / (c.patch_size_t ?? 1)) * (c.patch_size_t ?? 1);

/** The size of a batch that a sample can be in. */
export function shapeOf(sample: GivenSample, c: TransformerConfig, clips: number): BatchShape {
  const [frames, , height, width] = sample.shape;
  return { clips, frames: paddedFrames(frames, c), height, width, textLength: textTokens(sample, c) };
}

/** Throws where a sample is not one that the model takes. @param name what messages call it */
export function checkSample(sample: TrainingSample, c: TransformerConfig, name: string): void {
  const { latents, shape, text, condition } = sample;
  const fail = (rule: string): never => {
    throw new CogwheelError("training", `${name}: ${rule}`);
  };
  if (!Array.isArray(shape) || shape.length !== 4 || !shape.every((n) => Number.isInteger(n) && n > 0))
    fail(`the shape must be [frames, channels, height, width], got ${JSON.stringify(shape)}; give the latents' sizes`);
  expectFloats(latents, "training", `${name}: latents`);
  expectFloats(text, "training", `${name}: the text`);
  if (latents.length !== elements(shape))
    fail(`latents must fill their shape, got ${latents.length} values for [${shape.join(", ")}]; correct either`);
  if (shape[1] !== c.out_channels)
    fail(`latents must have the model's ${c.out_channels} channels, got [${shape.join(", ")}]; encode the clip with its VAE`);
  if (text.length === 0 || text.length % c.text_embed_dim)
    fail(`the text must be tokens of ${c.text_embed_dim} values, got ${text.length}; encode it with the model's text encoder`);
  const extra = c.in_channels - c.out_channels;
  if (extra > 0 !== (condition !== undefined))
    fail(`a condition must be given exactly where the model takes one (${extra} channels), got ${condition ? "one" : "none"}`);
}

/** The timesteps of `samples`, which are those of `place` from `first` on. @param levels timesteps that there are */
export function drawnTimesteps(
  samples: readonly StreamedSample[],
  { timesteps, timestepRange }: SamplingOptions,
  place: TimestepPlace,
  first: number,
  levels: number,
): number[] {
  const all: TimestepRange = [0, levels - 1];
  const rangeOf = (i: number): TimestepRange => (samples[i - first]?.prior ? all : (timestepRange ?? all));
  return timestepsOf(timesteps, place, rangeOf).slice(first, first + samples.length);
}

/** A batch of samples of one size: for `place` in the run, whose timesteps are those from `first` on. */
export async function makeBatch(
  samples: readonly StreamedSample[],
  c: TransformerConfig,
  options: SamplingOptions,
  place: TimestepPlace,
  first: number,
  levels: number,
): Promise<Batch> {
  const shape = shapeOf(samples[0]!, c, samples.length);
  const extra = c.in_channels - c.out_channels;
  const { before } = drawsOfRank(place);
  const clips: DrawnClip[] = [];
  for (const [i, sample] of samples.entries()) clips.push(await drawClip(sample, c, options, place.step, before + first + i));
  const all = (of: (clip: DrawnClip) => Float32Array): Float32Array => joinedFloats(clips.map(of));
  return {
    shape,
    latents: all((clip) => clip.latents),
    noise: all((clip) => clip.noise),
    timesteps: drawnTimesteps(samples, options, place, first, levels),
    text: all((clip) => clip.text),
    ...(extra ? { condition: all((clip) => clip.condition) } : {}),
  };
}

/**
 * A clip that is not learned from, whole: with its text and condition, and noise that follows from its number and the timestep alone, so
 * that every measurement of every run is of the same.
 */
export async function heldOutBatch(
  given: GivenSample,
  c: TransformerConfig,
  { timestep, index, levels }: { timestep: number; index: number; levels: number },
): Promise<Batch> {
  const sample = await loaded(given);
  checkSample(sample, c, `held-out clip ${index + 1}`);
  const whole: SamplingOptions = { seed: 0, timesteps: "random", textDropout: 0, nullText: "zeros", conditionDropout: 0 };
  const { latents, noise, text, condition } = await drawClip(sample, c, whole, timestep, index);
  return {
    shape: shapeOf(sample, c, 1),
    latents,
    noise,
    timesteps: [Math.min(timestep, levels - 1)],
    text,
    ...(condition.length ? { condition } : {}),
  };
}

/** A clip as a step learns from it: padded, with the noise that is drawn for it, and without what is left out. */
export interface DrawnClip {
  readonly frames: number;
  readonly latents: Float32Array;
  readonly noise: Float32Array;
  readonly text: Float32Array;
  /** No values where the model takes none. */
  readonly condition: Float32Array;
}

/** @param index the clip's number among all of the step, over all ranks */
export async function drawClip(
  given: GivenSample,
  c: TransformerConfig,
  options: SamplingOptions,
  step: number,
  index: number,
): Promise<DrawnClip> {
  const sample = await loaded(given);
  const frames = paddedFrames(sample.shape[0], c);
  const [, channels, height, width] = sample.shape;
  const extra = c.in_channels - c.out_channels;
  const draws = (purpose: string): RunDraws => drawsOf(options.seed, purpose, step, index);
  const text = new Float32Array(sample.text.length);
  const empty = draws("text dropout").uniform() < options.textDropout;
  if (!empty) text.set(sample.text);
  else if (options.nullText !== "zeros") text.set(nullText(options.nullText, text.length));
  const condition = new Float32Array(frames * extra * height * width);
  if (extra && draws("condition dropout").uniform() >= options.conditionDropout)
    condition.set(await conditionOf(sample, draws("condition"), condition.length));
  const noise = draws("noise").generator.randn([frames * channels * height * width]);
  return { frames, latents: padded(sample, frames), noise, text, condition };
}

/** Whole patches of frames: the first frame once more in front, as CogVideoX 1.5 was trained. */
function padded({ latents, shape: [before] }: TrainingSample, frames: number): Float32Array {
  if (before === frames) return latents;
  const frame = latents.length / before;
  const out = new Float32Array(frames * frame);
  const missing = frames - before;
  for (let i = 0; i < missing; i++) out.set(latents.subarray(0, frame), i * frame);
  out.set(latents, missing * frame);
  return out;
}

function nullText(values: Float32Array, size: number): Float32Array {
  if (values.length !== size)
    throw new CogwheelError("training", `what stands for no text must have as many values as a text, got ${values.length} for ${size}`);
  return values;
}

async function conditionOf({ condition }: TrainingSample, draws: RunDraws, most: number): Promise<Float32Array> {
  const { generator } = draws;
  const given =
    typeof condition === "function"
      ? await condition({
          sigma: Math.exp(-3 + 0.5 * generator.randn([1])[0]!),
          noise: (shape) => generator.randn(shape),
        })
      : condition!;
  expectFloats(given, "training", "a condition");
  if (given.length > most)
    throw new CogwheelError("training", `a condition must have at most its clip's frames, got ${given.length} values for ${most}; cut it`);
  return given;
}
