/** Packs of a run: which samples share a sequence, and how they become batches. */
import { CogwheelError } from "../../base/errors.ts";
import { assertKnown } from "../../graph/known-name.ts";
import type { TransformerConfig } from "../../models/cogvideox/config.ts";
import type { PackedCapacity, RopeRule } from "../../models/cogvideox/packed.ts";
import { tokensOf } from "../../models/cogvideox/packed.ts";
import { type PriorData, samplesOf, type TrainingData } from "../batches.ts";
import { type GivenSample, type StreamedSample, textTokens } from "../training-sample.ts";
import { drawClip, drawnTimesteps, paddedFrames, type SamplingOptions } from "../sample.ts";
import { drawsOfRank, type TimestepPlace } from "../timesteps.ts";
import { PACK_AVERAGES, type PackAverage, type PackedBatch } from "./batch.ts";
import { Packer } from "./packer.ts";

/** Clips that are looked at together. */
const WINDOW = 256;

export interface PackingOptions {
  /** Tokens of a pack, text and video: what a micro-step takes, whatever clips are in it. */
  readonly budget: number;
  /** Clips of a pack at most. Default: as many as have room, up to 64. */
  readonly clips?: number;
  /** Clips that are looked at together for what fits. Default 256. */
  readonly window?: number;
  /** Default `prefix`. */
  readonly rope?: RopeRule;
  /** Default `clip`. */
  readonly average?: PackAverage;
}

/** Throws for values that no packing can have. */
export function checkPacking({ budget, clips, window, rope, average }: PackingOptions): void {
  for (const [name, value] of Object.entries({ budget, clips, window }))
    if (value !== undefined && (!Number.isInteger(value) || value < 1))
      throw new CogwheelError("training", `packing.${name} must be a whole number from 1, got ${value}; correct it`);
  assertKnown("training", "packing.rope", rope, ["prefix", "pipeline"]);
  assertKnown("training", "packing.average", average, PACK_AVERAGES);
}

/** The options other than the defaults: two that are the same are told alike. */
export function toldPacking({ window, rope, average, ...rest }: PackingOptions): PackingOptions {
  const told = <T>(name: string, value: T, otherwise: T): object => (value === undefined || value === otherwise ? {} : { [name]: value });
  return { ...rest, ...told("window", window, WINDOW), ...told("rope", rope, "prefix"), ...told("average", average, "clip") };
}

/** What the run's one graph has room for. */
export function capacityOf(c: TransformerConfig, { budget, clips = mostClips(c, budget) }: PackingOptions): PackedCapacity {
  // A clip has a token of text at least.
  return { clips, rows: budget, text: Math.min(budget, clips * c.max_text_seq_length), video: Math.max(1, budget - 1) };
}

const mostClips = (c: TransformerConfig, budget: number): number =>
  Math.max(1, Math.min(64, Math.floor(budget / (c.max_text_seq_length + 1))));

interface Packable {
  readonly tokens: number;
  readonly sample: StreamedSample;
}

/** Tokens of a sample in a pack. */
export function packedTokens(c: TransformerConfig, sample: GivenSample): number {
  const [frames, , height, width] = sample.shape;
  return tokensOf(c, { frames: paddedFrames(frames, c), height, width, text: textTokens(sample, c) }).all;
}

/** Samples in packs, as {@link Packer} forms them. The same data and seed give the same packs. */
export async function* packsOf(
  data: TrainingData,
  c: TransformerConfig,
  { packing, seed, prior }: { packing: PackingOptions; seed: number; prior?: PriorData | undefined },
): AsyncGenerator<readonly StreamedSample[], void, void> {
  const { budget, clips = mostClips(c, budget), window = WINDOW } = packing;
  const packer = new Packer<Packable>({ budget, clips, window });
  for await (const sample of samplesOf(data, c, seed, prior)) {
    packer.add({ tokens: packedTokens(c, sample), sample });
    if (!packer.wants) yield packer.next()!.map((one) => one.sample);
  }
  for (let pack = packer.next(); pack; pack = packer.next()) yield pack.map((one) => one.sample);
}

/** A pack for `place` in the run, whose timesteps are those from `first` on. */
export async function makePack(
  samples: readonly StreamedSample[],
  c: TransformerConfig,
  packing: PackingOptions,
  options: SamplingOptions,
  place: TimestepPlace,
  first: number,
  levels: number,
): Promise<PackedBatch> {
  const { before } = drawsOfRank(place);
  const timesteps = drawnTimesteps(samples, options, place, first, levels);
  const clips = [];
  for (const [i, sample] of samples.entries()) {
    const { frames, latents, noise, text, condition } = await drawClip(sample, c, options, place.step, before + first + i);
    const [, channels, height, width] = sample.shape;
    clips.push({
      shape: [frames, channels, height, width] as const,
      latents,
      noise,
      text,
      timestep: timesteps[i]!,
      ...(condition.length ? { condition } : {}),
    });
  }
  const { rope, average } = packing;
  return { capacity: capacityOf(c, packing), clips, ...(rope ? { rope } : {}), ...(average ? { average } : {}) };
}
