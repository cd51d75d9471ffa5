/**
 * Clips of any length and size in one sequence ("multi-resolution frame pack", CogVideoX, section 3.1). Each clip has its own text,
 * timestep, AdaLN rows and positions, and attends to itself alone. A graph is recorded for a capacity; which clips fill it is told by
 * lists, which are inputs. So a new mix is no new graph.
 *
 *   G clips of the capacity · R rows of the sequence · T rows of text · V rows of video, all clips together · D = heads · head width
 *
 * A clip's rows follow each other, its text first. Rows behind the last clip are padding: they attend to themselves, and nothing else
 * reads them.
 */
import { CogwheelError } from "../../base/errors.ts";
import type { DType } from "../../graph/dtype.ts";
import type { Graph } from "../../graph/graph.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { add } from "../../ops/add.ts";
import { gatherRows, NO_ROW } from "../../ops/gather_rows.ts";
import { joinTokens } from "../../ops/join_tokens.ts";
import { layerNorm } from "../../ops/layer_norm.ts";
import type { TransformerConfig } from "./config.ts";
import { affine, recordBlock, recordConditioning, recordPatchProjection, recordProjection, recordTextProjection } from "./forward.ts";
import type { LiveLoras } from "./linear.ts";
import { rotaryGrid, rotaryTable, sincosTable } from "./positions.ts";

/** What a packed graph has room for. */
export interface PackedCapacity {
  readonly clips: number;
  /** Rows of the sequence: the token budget. */
  readonly rows: number;
  /** Rows of text, and of video, of all clips. */
  readonly text: number;
  readonly video: number;
}

/** A clip of a pack: its size in latent frames and pixels, and its text tokens. */
export interface PackedClip {
  readonly frames: number;
  readonly height: number;
  readonly width: number;
  readonly text: number;
}

/**
 * How a clip's rotary positions are counted. `prefix`: by the frame, row and column, from the table's start, whatever its size
 * (extrapolation: the paper's choice). `pipeline`: as sampling has them, where the first models stretch a clip over the grid of their own
 * size (interpolation).
 */
export type RopeRule = "prefix" | "pipeline";

export interface PackedTensors {
  /** [V, in_channels·pt·p·p] f32: the values of each patch in the order (channel, frame, row, column). */
  readonly patches: Tensor;
  /** [T, text_embed_dim] */
  readonly text: Tensor;
  /** [G] f32, of clips that are not there too. */
  readonly timestep: Tensor;
  /** [G] f32, for checkpoints with `ofs_embed_dim`. */
  readonly ofs?: Tensor;
}

/** Tokens of a clip's video, and of the whole clip. */
export function tokensOf(c: TransformerConfig, { frames, height, width, text }: PackedClip): { video: number; all: number } {
  const pt = c.patch_size_t ?? 1;
  if (frames % pt || height % c.patch_size || width % c.patch_size || [frames, height, width, text].some((n) => n < 1))
    throw new CogwheelError(
      "transformer",
      `a clip of a pack must have latent frames in multiples of ${pt}, height and width of ${c.patch_size}, ` +
        `got ${frames} × ${height} × ${width}; pad or crop it`,
    );
  const video = (frames / pt) * (height / c.patch_size) * (width / c.patch_size);
  return { video, all: text + video };
}

/** The least capacity for these clips. */
export function capacityFor(c: TransformerConfig, clips: readonly PackedClip[]): PackedCapacity {
  const sum = (f: (clip: PackedClip) => number): number => clips.reduce((n, clip) => n + f(clip), 0);
  const video = sum((clip) => tokensOf(c, clip).video);
  const text = sum((clip) => clip.text);
  return { clips: clips.length, rows: video + text, text, video };
}

const rotary = (c: TransformerConfig): boolean => c.use_rotary_positional_embeddings;
const added = (c: TransformerConfig): boolean => !rotary(c) || c.use_learned_positional_embeddings;

/** Records the model over a pack; returns what it predicts for each video token: [V, out_channels·pt·p·p padded to 4] f32. */
export function recordPackedTransformer(
  graph: Graph,
  c: TransformerConfig,
  capacity: PackedCapacity,
  { patches, text, timestep, ofs }: PackedTensors,
  dtype: DType,
  loras?: LiveLoras,
): Tensor {
  if (c.use_learned_positional_embeddings)
    throw new CogwheelError(
      "transformer",
      "learned positions fix a model to one size, got use_learned_positional_embeddings with frame packing; train it unpacked",
    );
  const d = c.num_attention_heads * c.attention_head_dim;
  const list = (name: keyof PackedLists, count: number): Tensor => graph.input(`packed.${name}`, [count], "u32");
  const conditioning = recordConditioning(graph, c, timestep, ofs, loras);
  let hidden = graph.scope("patch_embed", () => {
    const video = recordPatchProjection(graph, c, patches, loras);
    const words = recordTextProjection(graph, c, text, loras);
    // All text, then all video; the sequence takes its rows from there.
    const apart = joinTokens(graph.reshape(words, [1, capacity.text, d]), graph.reshape(video, [1, capacity.video, d]));
    const joined = graph.reshape(apart, [capacity.text + capacity.video, d]);
    const ordered = gatherRows(joined, list("source", capacity.rows), list("place", capacity.text + capacity.video));
    return added(c) ? add(ordered, graph.input("packed.position", [capacity.rows, d])) : ordered;
  });
  const sequence = {
    batch: capacity.clips,
    segments: { clips: graph.input("packed.clips", [capacity.clips + 1, 2], "u32") },
    expertRows: list("expert", capacity.rows),
    gateRows: list("gate", capacity.rows),
    ...(rotary(c)
      ? {
          rope: {
            table: graph.input("packed.rope", [capacity.rows, c.attention_head_dim]),
            position: graph.constant(
              "packed.rows",
              Uint32Array.from({ length: capacity.rows }, (_, r) => r),
            ),
          },
        }
      : {}),
  };
  for (let i = 0; i < c.num_layers; i++)
    hidden = graph.scope(`transformer_blocks.${i}`, () =>
      recordBlock(graph, c, `transformer_blocks.${i}`, hidden, conditioning, sequence, dtype, loras),
    );
  const final = layerNorm(hidden, { ...affine(graph, c, "norm_final", d), eps: c.norm_eps });
  const video = gatherRows(final, list("videoSource", capacity.video), list("videoPlace", capacity.rows));
  return recordProjection(graph, c, video, conditioning, list("shift", capacity.video), dtype, loras);
}

/** What tells a packed graph which clips fill it: its inputs `packed.‹name›`. */
export interface PackedLists {
  /** [R]: where a row of the sequence comes from among all text and then all video; and [T + V] the other way. */
  readonly source: Uint32Array;
  readonly place: Uint32Array;
  /** [R]: a row's first row in the table of shifts, scales and gates, and its gate's. */
  readonly expert: Uint32Array;
  readonly gate: Uint32Array;
  /** [V]: a video token's row of the sequence; and [R] the other way. */
  readonly videoSource: Uint32Array;
  readonly videoPlace: Uint32Array;
  /** [V]: a video token's row of shift in the last norm's table. */
  readonly shift: Uint32Array;
  /** [G + 1, 2]: first row and rows of each clip, then of the padding; zeros where there is none. */
  readonly clips: Uint32Array;
  /** [R, head width] (cos, sin) pairs, for models with rotary positions. */
  readonly rope?: Float32Array;
  /** [R, D], for models whose positions are added. */
  readonly position?: Float32Array;
}

/** Tables of a clip's size, by that size: clips of a few sizes come again and again. */
export class PositionTables {
  readonly #tables = new Map<string, Float32Array>();
  readonly #most: number;

  /** @param most values that are kept */
  constructor(most = 64e6) {
    this.#most = most;
  }

  get(key: string, make: () => Float32Array): Float32Array {
    const found = this.#tables.get(key) ?? make();
    // The one that was asked for last is thrown away last.
    this.#tables.delete(key);
    this.#tables.set(key, found);
    let values = [...this.#tables.values()].reduce((n, { length }) => n + length, 0);
    for (const [oldest, { length }] of this.#tables) {
      if (values <= this.#most || oldest === key) break;
      this.#tables.delete(oldest);
      values -= length;
    }
    return found;
  }
}

/** Lists for clips in a capacity; throws where they do not fit it. */
export function packedLists(
  c: TransformerConfig,
  capacity: PackedCapacity,
  clips: readonly PackedClip[],
  { rope = "prefix", tables = new PositionTables() }: { rope?: RopeRule; tables?: PositionTables } = {},
): PackedLists {
  const needed = capacityFor(c, clips);
  for (const what of ["clips", "rows", "text", "video"] as const)
    if (needed[what] > capacity[what])
      throw new CogwheelError(
        "transformer",
        `a pack's ${what} must fit its capacity of ${capacity[what]}, got ${needed[what]}; leave a clip to the next pack`,
      );
  const d = c.num_attention_heads * c.attention_head_dim;
  const k = c.attention_head_dim;
  const source = new Uint32Array(capacity.rows).fill(NO_ROW);
  const place = new Uint32Array(capacity.text + capacity.video).fill(NO_ROW);
  // Padding has the rows of the last clip of the capacity, whether it is there or not.
  const expert = new Uint32Array(capacity.rows).fill(6 * (capacity.clips - 1));
  const videoSource = new Uint32Array(capacity.video).fill(NO_ROW);
  const videoPlace = new Uint32Array(capacity.rows).fill(NO_ROW);
  const shift = new Uint32Array(capacity.video).fill(2 * (capacity.clips - 1));
  const rows = new Uint32Array(2 * (capacity.clips + 1));
  const ropeRows = rotary(c) ? new Float32Array(capacity.rows * k) : undefined;
  const position = added(c) ? new Float32Array(capacity.rows * d) : undefined;
  // What is not rotated: text and padding.
  if (ropeRows) for (let i = 0; i < ropeRows.length; i += 2) ropeRows[i] = 1;
  let [row, text, video] = [0, 0, 0];
  for (const [i, clip] of clips.entries()) {
    const tokens = tokensOf(c, clip);
    rows.set([row, tokens.all], 2 * i);
    for (let j = 0; j < tokens.all; j++) {
      const spoken = j < clip.text;
      const from = spoken ? text + j : capacity.text + video + j - clip.text;
      source[row + j] = from;
      place[from] = row + j;
      expert[row + j] = 6 * i + (spoken ? 3 : 0);
      if (spoken) continue;
      videoSource[video + j - clip.text] = row + j;
      videoPlace[row + j] = video + j - clip.text;
      shift[video + j - clip.text] = 2 * i;
    }
    const size = `${clip.frames} × ${clip.height} × ${clip.width}`;
    // The tables' first rows are of text: one that rotates nothing, or zeros for each of its tokens.
    if (ropeRows) {
      const table = tables.get(`rope ${rope} ${size}`, () => rotaryTable(ropeGrid(c, clip, rope)));
      ropeRows.set(table.subarray(k), (row + clip.text) * k);
    }
    if (position) {
      const [gh, gw] = [clip.height / c.patch_size, clip.width / c.patch_size];
      position.set(
        tables.get(`position ${size}`, () => sincosTable(c, 0, clip.frames, gh, gw)),
        (row + clip.text) * d,
      );
    }
    row += tokens.all;
    text += clip.text;
    video += tokens.video;
  }
  rows.set([row, capacity.rows - row], 2 * capacity.clips);
  return {
    source,
    place,
    expert,
    gate: expert.map((first) => first + 2),
    videoSource,
    videoPlace,
    shift,
    clips: rows,
    ...(ropeRows ? { rope: ropeRows } : {}),
    ...(position ? { position } : {}),
  };
}

/** The grid of a clip's rotary positions. */
export function ropeGrid(c: TransformerConfig, { frames, height, width }: PackedClip, rope: RopeRule) {
  const grid = rotaryGrid(c, frames, height, width);
  return rope === "prefix" ? { ...grid, crop: null } : grid;
}

type PatchSizes = Pick<TransformerConfig, "patch_size" | "patch_size_t">;
type LatentShape = readonly [frames: number, channels: number, height: number, width: number];

/** latents [F, C, H, W] → [V, C·pt·p·p], a patch a row, its values in the order (channel, frame, row, column). */
export function patchRows(c: PatchSizes, latents: Float32Array, shape: LatentShape): Float32Array {
  const out = new Float32Array(latents.length);
  alongPatches(c, shape, (row, latent) => {
    out[row] = latents[latent]!;
  });
  return out;
}

/** The way back: [V, C·pt·p·p] → latents [F, C, H, W]. */
export function latentsOfRows(c: PatchSizes, rows: Float32Array, shape: LatentShape): Float32Array {
  const out = new Float32Array(rows.length);
  alongPatches(c, shape, (row, latent) => {
    out[latent] = rows[row]!;
  });
  return out;
}

/** Each value's place in the rows and in the latents. */
function alongPatches(c: PatchSizes, [frames, channels, height, width]: LatentShape, place: (row: number, latent: number) => void): void {
  const [p, pt] = [c.patch_size, c.patch_size_t ?? 1];
  let at = 0;
  for (let t = 0; t < frames; t += pt)
    for (let y = 0; y < height; y += p)
      for (let x = 0; x < width; x += p)
        for (let ch = 0; ch < channels; ch++)
          for (let i = 0; i < pt; i++)
            for (let j = 0; j < p; j++) {
              const from = (((t + i) * channels + ch) * height + y + j) * width + x;
              for (let k = 0; k < p; k++) place(at++, from + k);
            }
}
