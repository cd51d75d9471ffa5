/**
 * Motion between two small pictures: Lucas and Kanade's flow of blocks of 8 × 8, from coarse to fine over three sizes, and the affine
 * motion that most blocks agree on, which is the camera's. Lengths are averaged, not vectors, so that motions to both sides do not cancel.
 */
import type { SmallSize } from "../film/small-frame.ts";
import type { MotionLevel, Pixels } from "../pixels.ts";

export interface Motion {
  /** Mean length of all blocks' motion, in widths of the picture. */
  readonly all: number;
  /** Of the camera's part of it, and of what is left. */
  readonly camera: number;
  readonly local: number;
  /** Share of blocks that move against the camera by more than half a pixel of the small picture. */
  readonly moving: number;
}

const BLOCK = 8;
const LEVELS = 3;
const AGAINST = 0.5;
/** In which blocks that go against the camera lose their say. */
const ROUNDS = 4;

/** Measures pairs of pictures of one size; the later one of a pair is the earlier one of the next. */
export class MotionMeter {
  readonly #levels: MotionLevel[];
  #before: Uint8Array | undefined;

  constructor(
    readonly pixels: Pixels,
    { width, height }: Pick<SmallSize, "width" | "height">,
  ) {
    this.#levels = Array.from({ length: LEVELS }, (_, level) => {
      const [w, h] = [width >> level, height >> level];
      return { width: w, height: h, columns: Math.floor((w - 2) / BLOCK), rows: Math.floor((h - 2) / BLOCK) };
    }).filter(({ columns, rows }) => columns > 0 && rows > 0);
  }

  /** The motion since the picture before; undefined for the first, and for pictures too small to have blocks. */
  next(luma: Uint8Array): Motion | undefined {
    const [finest] = this.#levels;
    if (!finest) return undefined;
    const before = this.#before;
    if (!before) {
      this.#before = luma.slice();
      return undefined;
    }
    const { across, down } = this.pixels.flow(before, luma, this.#levels);
    before.set(luma);
    return summary(finest, across, down);
  }
}

function summary({ width, columns, rows }: MotionLevel, across: Float32Array, down: Float32Array): Motion {
  const blocks = columns * rows;
  const camera = affineOf(columns, rows, across, down);
  let [all, shared, left, moving] = [0, 0, 0, 0];
  for (let block = 0; block < blocks; block++) {
    const [x, y] = [block % columns, Math.floor(block / columns)];
    const cu = camera[0]! + camera[1]! * x + camera[2]! * y;
    const cv = camera[3]! + camera[4]! * x + camera[5]! * y;
    all += Math.hypot(across[block]!, down[block]!);
    shared += Math.hypot(cu, cv);
    const rest = Math.hypot(across[block]! - cu, down[block]! - cv);
    left += rest;
    if (rest > AGAINST) moving++;
  }
  const per = 1 / (blocks * width);
  return { all: all * per, camera: shared * per, local: left * per, moving: moving / blocks };
}

/** Least squares of u and v by 1, x and y; blocks that do not fit lose their say, in a few rounds. */
function affineOf(columns: number, rows: number, across: Float32Array, down: Float32Array): number[] {
  const weights = new Float32Array(columns * rows).fill(1);
  const rest = new Float32Array(columns * rows);
  let found = [0, 0, 0, 0, 0, 0];
  for (let round = 0; round < ROUNDS; round++) {
    // Normal equations [1 x y]ᵀ W [1 x y], and their right sides.
    let [n, sx, sy, sxx, sxy, syy] = [1e-6, 0, 0, 1e-6, 0, 1e-6];
    let [u, ux, uy, v, vx, vy] = [0, 0, 0, 0, 0, 0];
    for (let i = 0; i < weights.length; i++) {
      const w = weights[i]!;
      const x = i % columns;
      const y = (i - x) / columns;
      n += w;
      sx += w * x;
      sy += w * y;
      sxx += w * x * x;
      sxy += w * x * y;
      syy += w * y * y;
      u += w * across[i]!;
      ux += w * x * across[i]!;
      uy += w * y * across[i]!;
      v += w * down[i]!;
      vx += w * x * down[i]!;
      vy += w * y * down[i]!;
    }
    const matrix: Matrix3 = [n, sx, sy, sx, sxx, sxy, sy, sxy, syy];
    found = [...solve(matrix, [u, ux, uy]), ...solve(matrix, [v, vx, vy])];
    if (round === ROUNDS - 1) break;
    const [u0, ux0, uy0, v0, vx0, vy0] = found as [number, number, number, number, number, number];
    for (let i = 0; i < rest.length; i++) {
      const x = i % columns;
      const y = (i - x) / columns;
      const du = across[i]! - u0 - ux0 * x - uy0 * y;
      const dv = down[i]! - v0 - vx0 * x - vy0 * y;
      rest[i] = Math.sqrt(du * du + dv * dv);
    }
    const spread = Math.max(0.1, 2 * rest.toSorted()[rest.length >> 1]!);
    for (let i = 0; i < weights.length; i++) weights[i] = 1 / (1 + (rest[i]! / spread) ** 4);
  }
  return found;
}

type Matrix3 = [number, number, number, number, number, number, number, number, number];

/** Cramer's rule. */
function solve([a, b, c, d, e, f, g, h, i]: Matrix3, [x, y, z]: [number, number, number]): [number, number, number] {
  const determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  if (Math.abs(determinant) < 1e-9) return [x / a, 0, 0];
  return [
    (x * (e * i - f * h) - b * (y * i - f * z) + c * (y * h - e * z)) / determinant,
    (a * (y * i - f * z) - x * (d * i - f * g) + c * (d * z - y * g)) / determinant,
    (a * (e * z - y * h) - b * (d * z - y * g) + x * (d * h - e * g)) / determinant,
  ];
}
