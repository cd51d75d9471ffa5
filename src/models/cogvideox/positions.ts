/**
 * Positions of video tokens: the rotary tables of 5B and 1.5, the sin-cos table of 2B. Computed on the CPU in float64 and
 * rounded where the reference rounds, so that the tables agree to the last bits.
 */
import { torchLinspace } from "../../diffusion/torch-linspace.ts";
import type { TransformerConfig } from "./config.ts";

const f32 = Math.fround;

/** Python's round(): halves go to the even neighbour. */
function roundHalfEven(x: number): number {
  const down = Math.floor(x);
  const rest = x - down;
  return rest > 0.5 || (rest === 0.5 && down % 2 !== 0) ? down + 1 : down;
}

/** The part of the base grid that a grid of another aspect is stretched over: [top, left], [bottom, right]. */
export function resizeCropRegion(
  gridHeight: number,
  gridWidth: number,
  baseWidth: number,
  baseHeight: number,
): [[number, number], [number, number]] {
  const tall = gridHeight / gridWidth > baseHeight / baseWidth;
  const height = tall ? baseHeight : roundHalfEven((baseWidth / gridWidth) * gridHeight);
  const width = tall ? roundHalfEven((baseHeight / gridHeight) * gridWidth) : baseWidth;
  const top = roundHalfEven((baseHeight - height) / 2);
  const left = roundHalfEven((baseWidth - width) / 2);
  return [
    [top, left],
    [top + height, left + width],
  ];
}

export interface RotaryGrid {
  /** Head width; a quarter of it is rotated by the frame, three eighths each by row and column. */
  dim: number;
  frames: number;
  height: number;
  width: number;
  /** Coordinates on each axis: `linspace` over the crop (1.0), or plain indices (1.5). */
  crop: [[number, number], [number, number]] | null;
  theta?: number;
}

/**
 * [1 + F·H·W, D]: row 0 rotates nothing (text tokens), row 1 + v holds (cos, sin) of each channel pair of video token v.
 */
export function rotaryTable({ dim, frames, height, width, crop, theta = 10000 }: RotaryGrid): Float32Array {
  const linspace = (from: number, to: number, n: number) => torchLinspace(from, to, n, f32);
  const indices = (n: number) => Float64Array.from({ length: n }, (_, i) => i);
  const axis = (positions: Float64Array, d: number): { cos: Float64Array; sin: Float64Array; half: number } => {
    const half = d / 2;
    const cos = new Float64Array(positions.length * half);
    const sin = new Float64Array(positions.length * half);
    for (let i = 0; i < half; i++) {
      const frequency = f32(1 / f32(theta ** f32(f32(2 * i) / d)));
      positions.forEach((p, j) => {
        const angle = f32(p * frequency);
        cos[j * half + i] = Math.cos(angle);
        sin[j * half + i] = Math.sin(angle);
      });
    }
    return { cos, sin, half };
  };
  const dimT = Math.floor(dim / 4);
  const dimS = Math.floor(dim / 8) * 3;
  const t = axis(crop ? linspace(0, (frames * (frames - 1)) / frames, frames) : indices(frames), dimT);
  const h = axis(crop ? linspace(crop[0][0], (crop[1][0] * (height - 1)) / height, height) : indices(height), dimS);
  const w = axis(crop ? linspace(crop[0][1], (crop[1][1] * (width - 1)) / width, width) : indices(width), dimS);

  const table = new Float32Array((1 + frames * height * width) * dim);
  for (let i = 0; i < dim; i += 2) table[i] = 1;
  let at = dim;
  for (let f = 0; f < frames; f++)
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        for (const [a, position] of [
          [t, f],
          [h, y],
          [w, x],
        ] as const) {
          for (let i = 0; i < a.half; i++) {
            table[at++] = a.cos[position * a.half + i]!;
            table[at++] = a.sin[position * a.half + i]!;
          }
        }
      }
  return table;
}

/** The grid that the pipelines give the transformer for latents of F × H × W. */
export function rotaryGrid(c: TransformerConfig, frames: number, height: number, width: number): RotaryGrid {
  const [gh, gw] = [Math.floor(height / c.patch_size), Math.floor(width / c.patch_size)];
  if (c.patch_size_t !== null)
    return { dim: c.attention_head_dim, frames: Math.ceil(frames / c.patch_size_t), height: gh, width: gw, crop: null };
  const crop = resizeCropRegion(gh, gw, Math.floor(c.sample_width / c.patch_size), Math.floor(c.sample_height / c.patch_size));
  return { dim: c.attention_head_dim, frames, height: gh, width: gw, crop };
}

/** [T + F·H·W, D]: zeros for text, then for each token a quarter of the width by frame, the rest by column and by row. */
export function sincosTable(c: TransformerConfig, textLength: number, frames: number, gridHeight: number, gridWidth: number): Float32Array {
  const d = c.num_attention_heads * c.attention_head_dim;
  const table = new Float32Array((textLength + frames * gridHeight * gridWidth) * d);
  const dimT = d / 4;
  const dimS = (3 * d) / 8;
  const encode = (position: number, dim: number, at: number) => {
    const half = dim / 2;
    for (let i = 0; i < half; i++) {
      const angle = position / 10000 ** (i / half);
      table[at + i] = Math.sin(angle);
      table[at + half + i] = Math.cos(angle);
    }
  };
  let at = textLength * d;
  for (let f = 0; f < frames; f++)
    for (let y = 0; y < gridHeight; y++)
      for (let x = 0; x < gridWidth; x++) {
        encode(f32(f / f32(c.temporal_interpolation_scale)), dimT, at);
        encode(f32(x / f32(c.spatial_interpolation_scale)), dimS, at + dimT);
        encode(f32(y / f32(c.spatial_interpolation_scale)), dimS, at + dimT + dimS);
        at += d;
      }
  return table;
}
