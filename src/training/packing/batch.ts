/** Clips of a micro-step in one sequence, and what a packed graph's inputs hold for them. */
import { CogwheelError } from "../../base/errors.ts";
import type { TransformerConfig } from "../../models/cogvideox/config.ts";
import {
  capacityFor,
  packedLists,
  type PackedCapacity,
  type PackedClip,
  patchRows,
  type PositionTables,
  type RopeRule,
} from "../../models/cogvideox/packed.ts";
import { type NoiseLevels, OFS } from "../batch.ts";

/** A clip of a pack; F latent frames, C channels, H × W, T text tokens, E their width. */
export interface ClipOfPack {
  readonly shape: readonly [frames: number, channels: number, height: number, width: number];
  /** [F, C, H, W]: clean latents, scaled as the model takes them; and standard noise. */
  readonly latents: Float32Array;
  readonly noise: Float32Array;
  /** A whole number from 0. */
  readonly timestep: number;
  /** [T, E] */
  readonly text: Float32Array;
  /** [F, C2, H, W], for models that take an image or a control video. */
  readonly condition?: Float32Array;
  /** For models that have the embedding. Default 2. */
  readonly ofs?: number;
  /** What its loss counts in what is differentiated. Default 1. */
  readonly weight?: number;
}

/** What a pack's loss is the mean of: of each clip's mean, as for clips one by one, or of all values, so that longer clips count more. */
export const PACK_AVERAGES = ["clip", "token"] as const;
export type PackAverage = (typeof PACK_AVERAGES)[number];

export interface PackedBatch {
  /** What the graph has room for; the clips may need less. */
  readonly capacity: PackedCapacity;
  readonly clips: readonly ClipOfPack[];
  /** Default `prefix`. */
  readonly rope?: RopeRule;
  /** Default `clip`. */
  readonly average?: PackAverage;
}

/** Names what tells one packed graph from another. */
export const capacityKey = ({ clips, rows, text, video }: PackedCapacity): string => `pack of ${clips}: ${rows} = ${text} + ${video}`;

/** Values of a video token's row of latents. */
export const rowWidth = (c: TransformerConfig, channels: number): number => channels * (c.patch_size_t ?? 1) * c.patch_size ** 2;

const sizeOf = (c: TransformerConfig, { shape: [frames, , height, width], text }: ClipOfPack): PackedClip => ({
  frames,
  height,
  width,
  text: text.length / c.text_embed_dim,
});

/** Throws where a pack is not whole, not one that the model takes, or larger than its capacity. */
export function checkPack({ clips, capacity }: PackedBatch, c: TransformerConfig, levels: number): void {
  if (clips.length === 0) throw new CogwheelError("training", "a pack must have at least one clip, got none; leave it out");
  const extra = c.in_channels - c.out_channels;
  for (const [i, { shape, latents, noise, timestep, text, condition }] of clips.entries()) {
    const [frames, channels, height, width] = shape;
    const want = (what: string, got: number | undefined, size: number): void => {
      if (got !== size)
        throw new CogwheelError(
          "training",
          `${what} of clip ${i + 1} must hold ${size} values for [${shape.join(", ")}], got ${got ?? "none"}; check its shape`,
        );
    };
    if (channels !== c.out_channels)
      throw new CogwheelError(
        "training",
        `clip ${i + 1} must have the model's ${c.out_channels} channels, got ${channels}; encode it anew`,
      );
    want("latents", latents.length, frames * channels * height * width);
    want("noise", noise.length, latents.length);
    if (extra || condition) want("the condition", condition?.length, frames * extra * height * width);
    if (text.length === 0 || text.length % c.text_embed_dim)
      throw new CogwheelError("training", `the text of clip ${i + 1} must be tokens of ${c.text_embed_dim} values, got ${text.length}`);
    if (!Number.isInteger(timestep) || timestep < 0 || timestep >= levels)
      throw new CogwheelError("training", `timesteps must be whole numbers from 0 to ${levels - 1}, got ${timestep} for clip ${i + 1}`);
  }
  const needed = capacityFor(
    c,
    clips.map((clip) => sizeOf(c, clip)),
  );
  for (const what of ["clips", "rows", "text", "video"] as const)
    if (needed[what] > capacity[what])
      throw new CogwheelError(
        "training",
        `a pack's ${what} must fit its capacity of ${capacity[what]}, got ${needed[what]}; leave a clip out`,
      );
}

/** What each clip's mean counts in the pack's loss; all together 1. */
export function clipShares({ clips, average = "clip" }: PackedBatch): number[] {
  const all = clips.reduce((n, { latents }) => n + latents.length, 0);
  return clips.map(({ latents }) => (average === "clip" ? 1 / clips.length : latents.length / all));
}

/** The inputs of a micro-step's graph that packs clips. */
export function packedInputs(
  batch: PackedBatch,
  c: TransformerConfig,
  levels: NoiseLevels,
  { micros, lossScale, tables }: { micros: number; lossScale: number; tables: PositionTables },
): Record<string, Float32Array | Uint32Array> {
  const { capacity, clips, rope = "prefix" } = batch;
  const width = rowWidth(c, c.out_channels);
  const extra = rowWidth(c, c.in_channels - c.out_channels);
  const [latents, noise] = [new Float32Array(capacity.video * width), new Float32Array(capacity.video * width)];
  const condition = new Float32Array(capacity.video * extra);
  const text = new Float32Array(capacity.text * c.text_embed_dim);
  // Rows of no clip have the level behind all clips, whose zeros make nothing of them.
  const rows = new Uint32Array(capacity.video).fill(capacity.clips);
  const table = new Float32Array(4 * (capacity.clips + 1));
  const shares = clipShares(batch);
  let [row, word] = [0, 0];
  for (const [i, clip] of clips.entries()) {
    const [frames, , height, across] = clip.shape;
    const of = (values: Float32Array, channels: number) => patchRows(c, values, [frames, channels, height, across]);
    latents.set(of(clip.latents, c.out_channels), row * width);
    noise.set(of(clip.noise, c.out_channels), row * width);
    if (extra) condition.set(of(clip.condition!, c.in_channels - c.out_channels), row * extra);
    text.set(clip.text, word);
    const count = clip.latents.length / width;
    rows.fill(i, row, row + count);
    const weight = ((lossScale * shares[i]!) / micros) * (clip.weight ?? 1);
    table.set(levels.row(clip.timestep, clip.latents.length, weight), 4 * i);
    row += count;
    word += clip.text.length;
  }
  const lists = packedLists(
    c,
    capacity,
    clips.map((clip) => sizeOf(c, clip)),
    { rope, tables },
  );
  const each = (of: (clip: ClipOfPack) => number) => Float32Array.from({ length: capacity.clips }, (_, i) => (clips[i] ? of(clips[i]) : 0));
  return {
    ...Object.fromEntries(Object.entries(lists).map(([name, list]) => [`packed.${name}`, list as Float32Array | Uint32Array])),
    latents,
    noise,
    "clip.rows": rows,
    levels: table,
    text,
    timestep: each(({ timestep }) => timestep),
    ...(extra ? { condition } : {}),
    ...(c.ofs_embed_dim === null ? {} : { ofs: each(({ ofs = OFS }) => ofs) }),
  };
}
