/** Micro-steps in which some clips show what the model is to keep: what they count, and what they are learned as. */
import { joinedFloats } from "../../base/joined.ts";
import type { Batch } from "../batch.ts";
import type { MicroBatch } from "../micro-batch.ts";
import type { ClipOfPack } from "../packing/batch.ts";

/** The prior clips alone: a batch of them, or a pack of the same capacity. @param isPrior of each clip; of some it is so */
export function priorClips(batch: MicroBatch, isPrior: readonly boolean[]): MicroBatch {
  const taken = <T>(values: readonly T[]): T[] => values.filter((_, i) => isPrior[i]);
  if ("capacity" in batch) return { ...batch, clips: taken(batch.clips) };
  const { shape, latents, noise, timesteps, text, condition, ofs } = batch;
  const of = (values: Float32Array): Float32Array => joinedFloats(taken(clipsOf(values, shape.clips)));
  return {
    shape: { ...shape, clips: isPrior.filter(Boolean).length },
    latents: of(latents),
    noise: of(noise),
    timesteps: taken(timesteps),
    text: of(text),
    ...(condition ? { condition: of(condition) } : {}),
    ...(ofs ? { ofs: taken(ofs) } : {}),
  };
}

/** What a prior clip is learned by. */
export interface PriorLearning {
  /** What its loss counts. */
  readonly weight: number;
  /** Of each prior clip the velocity that it is learned as. Default: its own. */
  readonly velocities?: readonly Float32Array[];
  /** √ᾱ and √(1 − ᾱ) at a timestep. */
  level(timestep: number): readonly [signal: number, sigma: number];
}

/** The micro-step with its prior clips learned so; the others are as they were. */
export function withPriorLearning(batch: MicroBatch, isPrior: readonly boolean[], learning: PriorLearning): MicroBatch {
  const { weight, velocities, level } = learning;
  let prior = 0;
  const learned = <C extends Pick<ClipOfPack, "latents" | "noise" | "timestep">>(clip: C, i: number): C => {
    if (!isPrior[i] || !velocities) return clip;
    return { ...clip, ...turned(clip, velocities[prior++]!, level(clip.timestep)) };
  };
  if ("capacity" in batch)
    return { ...batch, clips: batch.clips.map((clip, i) => ({ ...learned(clip, i), ...(isPrior[i] ? { weight } : {}) })) };
  const { latents, noise, timesteps, shape } = batch satisfies Batch;
  const [x, n] = [clipsOf(latents, shape.clips), clipsOf(noise, shape.clips)];
  const clips = timesteps.map((timestep, i) => learned({ latents: x[i]!, noise: n[i]!, timestep }, i));
  return {
    ...batch,
    latents: joinedFloats(clips.map((clip) => clip.latents)),
    noise: joinedFloats(clips.map((clip) => clip.noise)),
    weights: isPrior.map((is) => (is ? weight : 1)),
  };
}

/**
 * Latents x and noise n with the same noisy latents z = signal · x + sigma · n, and of another velocity v = signal · n − sigma · x: since
 * signal² + sigma² = 1, x = signal · z − sigma · v and n = sigma · z + signal · v.
 */
export function turned(
  { latents, noise }: Pick<ClipOfPack, "latents" | "noise">,
  velocity: Float32Array,
  [signal, sigma]: readonly [signal: number, sigma: number],
): Pick<ClipOfPack, "latents" | "noise"> {
  const noisy = latents.map((x, i) => signal * x + sigma * noise[i]!);
  return {
    latents: noisy.map((z, i) => signal * z - sigma * velocity[i]!),
    noise: noisy.map((z, i) => sigma * z + signal * velocity[i]!),
  };
}

const clipsOf = (values: Float32Array, clips: number): Float32Array[] => {
  const each = values.length / clips;
  return Array.from({ length: clips }, (_, i) => values.subarray(i * each, (i + 1) * each));
};
