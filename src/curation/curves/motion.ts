/**
 * Motion between two small pictures: Lucas and Kanade's flow of blocks of 8 × 8, from coarse to fine over three sizes, and the affine
 * motion that most blocks agree on, which is the camera's. Lengths are averaged, not vectors, so that motions to both sides do not cancel.
 */
import type { SmallSize } from "../film/small-frame.ts";

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
const ITERATIONS = 4;
/** What flat blocks are held in place with: gradients of noise, summed over a block. */
const DAMPING = 60;
const AGAINST = 0.5;
/** From a picture's far edges: between two pixels, so that there is one to the right and below. */
const BETWEEN = 1.001;
/** In which blocks that go against the camera lose their say. */
const ROUNDS = 4;

interface Level {
  readonly width: number;
  readonly height: number;
  readonly columns: number;
  readonly rows: number;
  before: Float32Array;
  after: Float32Array;
  /** Motion of each block, in pixels of this level. */
  readonly across: Float32Array;
  readonly down: Float32Array;
}

/** Measures pairs of pictures of one size; the later one of a pair is the earlier one of the next. */
export class MotionMeter {
  readonly #levels: Level[];
  #begun = false;

  constructor({ width, height }: Pick<SmallSize, "width" | "height">) {
    this.#levels = Array.from({ length: LEVELS }, (_, level) => {
      const [w, h] = [width >> level, height >> level];
      const [columns, rows] = [Math.floor((w - 2) / BLOCK), Math.floor((h - 2) / BLOCK)];
      const make = (length: number): Float32Array => new Float32Array(Math.max(0, length));
      return {
        width: w,
        height: h,
        columns,
        rows,
        before: make(w * h),
        after: make(w * h),
        across: make(columns * rows),
        down: make(columns * rows),
      };
    }).filter(({ columns, rows }) => columns > 0 && rows > 0);
  }

  /** The motion since the picture before; undefined for the first, and for pictures too small to have blocks. */
  next(luma: Uint8Array): Motion | undefined {
    const [finest] = this.#levels;
    if (!finest) return undefined;
    for (const level of this.#levels) [level.before, level.after] = [level.after, level.before];
    finest.after.set(luma.subarray(0, finest.after.length));
    for (const [i, level] of this.#levels.entries()) if (i > 0) halve(this.#levels[i - 1]!, level);
    if (!this.#begun) {
      this.#begun = true;
      return undefined;
    }
    for (let i = this.#levels.length - 1; i >= 0; i--) flowOf(this.#levels[i]!, this.#levels[i + 1]);
    return summary(finest);
  }
}

function halve(from: Level, to: Level): void {
  for (let y = 0; y < to.height; y++)
    for (let x = 0; x < to.width; x++) {
      const at = 2 * y * from.width + 2 * x;
      to.after[y * to.width + x] =
        (from.after[at]! + from.after[at + 1]! + from.after[at + from.width]! + from.after[at + from.width + 1]!) / 4;
    }
}

/** Steps of Gauss and Newton for each block, from where the coarser level left it. */
function flowOf(level: Level, coarser: Level | undefined): void {
  const { width, height, columns, rows, before, across, down } = level;
  const of: Block = { place: 0, dx: new Float32Array(BLOCK * BLOCK), dy: new Float32Array(BLOCK * BLOCK), across: 0, down: 0 };
  const { dx, dy } = of;
  for (let row = 0, block = 0; row < rows; row++)
    for (let column = 0; column < columns; column++, block++) {
      const [left, top] = [1 + column * BLOCK, 1 + row * BLOCK];
      let [u, v] = [0, 0];
      if (coarser) {
        const from = Math.min(coarser.rows - 1, row >> 1) * coarser.columns + Math.min(coarser.columns - 1, column >> 1);
        [u, v] = [2 * coarser.across[from]!, 2 * coarser.down[from]!];
      }
      let [xx, xy, yy] = [DAMPING, 0, DAMPING];
      for (let y = 0, i = 0; y < BLOCK; y++)
        for (let x = 0; x < BLOCK; x++, i++) {
          const at = (top + y) * width + left + x;
          const gx = (before[at + 1]! - before[at - 1]!) / 2;
          const gy = (before[at + width]! - before[at - width]!) / 2;
          dx[i] = gx;
          dy[i] = gy;
          xx += gx * gx;
          xy += gx * gy;
          yy += gy * gy;
        }
      of.place = top * width + left;
      const determinant = xx * yy - xy * xy;
      for (let step = 0; step < ITERATIONS; step++) {
        const [fromX, fromY] = [left + u, top + v];
        const inside = fromX >= 0 && fromY >= 0 && fromX + BLOCK - 1 <= width - BETWEEN && fromY + BLOCK - 1 <= height - BETWEEN;
        if (inside) pullInside(level, of, fromX, fromY);
        else pullAtEdge(level, of, fromX, fromY);
        const { across: bx, down: by } = of;
        const du = (yy * bx - xy * by) / determinant;
        const dv = (xx * by - xy * bx) / determinant;
        u += Math.max(-2, Math.min(2, du));
        v += Math.max(-2, Math.min(2, dv));
        if (du * du + dv * dv < 1e-4) break;
      }
      // Nothing is seen to come from beyond the picture.
      across[block] = Math.max(-width / 2, Math.min(width / 2, u));
      down[block] = Math.max(-height / 2, Math.min(height / 2, v));
    }
}

/** A block of the picture before, while its motion is sought. */
interface Block {
  /** Of its first pixel. */
  place: number;
  /** Its gradients. */
  readonly dx: Float32Array;
  readonly dy: Float32Array;
  /** Where the picture after pulls it: its differences, by gradients. */
  across: number;
  down: number;
}

/** A block that lies within the picture after, from (x, y) on: each of its pixels lies between four in the same way. */
function pullInside({ before, after, width }: Level, block: Block, x: number, y: number): void {
  const { place, dx, dy } = block;
  const [x0, y0] = [x | 0, y | 0];
  const [fx, fy] = [x - x0, y - y0];
  let [across, down] = [0, 0];
  for (let row = 0, i = 0; row < BLOCK; row++) {
    const here = place + row * width;
    const at = (y0 + row) * width + x0;
    let above = after[at]!;
    let below = after[at + width]!;
    for (let column = 0; column < BLOCK; column++, i++) {
      const nextAbove = after[at + column + 1]!;
      const nextBelow = after[at + width + column + 1]!;
      const upper = above + fx * (nextAbove - above);
      const lower = below + fx * (nextBelow - below);
      const error = before[here + column]! - (upper + fy * (lower - upper));
      across += error * dx[i]!;
      down += error * dy[i]!;
      above = nextAbove;
      below = nextBelow;
    }
  }
  block.across = across;
  block.down = down;
}

/** A block that lies beyond it in part: the picture goes on as its edge is. */
function pullAtEdge({ before, after, width, height }: Level, block: Block, x: number, y: number): void {
  const { place, dx, dy } = block;
  let [across, down] = [0, 0];
  for (let row = 0, i = 0; row < BLOCK; row++) {
    const py = Math.max(0, Math.min(height - BETWEEN, y + row));
    const y0 = py | 0;
    const fy = py - y0;
    for (let column = 0; column < BLOCK; column++, i++) {
      const px = Math.max(0, Math.min(width - BETWEEN, x + column));
      const x0 = px | 0;
      const fx = px - x0;
      const at = y0 * width + x0;
      const upper = after[at]! + fx * (after[at + 1]! - after[at]!);
      const lower = after[at + width]! + fx * (after[at + width + 1]! - after[at + width]!);
      const error = before[place + row * width + column]! - (upper + fy * (lower - upper));
      across += error * dx[i]!;
      down += error * dy[i]!;
    }
  }
  block.across = across;
  block.down = down;
}

function summary({ width, columns, rows, across, down }: Level): Motion {
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
