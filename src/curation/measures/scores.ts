/** What a clip measures, from the curves of its film: columns of the data set, by which filters choose. Nothing is decoded for it. */
import type { Curves } from "../curves/columns.ts";

/** Rises when the same curves give other scores. */
export const SCORES_VERSION = 1;

/** What a clip measures. */
export interface ClipScores {
  /** Mean length of motion, in widths of the picture a second, whatever its direction. */
  readonly motion: number;
  /** Of it what the camera does, and what is left. */
  readonly camera: number;
  readonly local: number;
  /** Share of the picture that moves against the camera. */
  readonly moving: number;
  /** Share of frames in which nothing changes. */
  readonly still: number;
  /** Variance of the Laplacian at full size; below 100 or so a picture looks soft. */
  readonly sharpness: number;
  /** Mean luma, and its spread, 0 … 1. */
  readonly brightness: number;
  readonly contrast: number;
  /** Shares of pixels that are black, and burnt out. */
  readonly dark: number;
  readonly bright: number;
  /** Share of the picture in black bars. */
  readonly letterbox: number;
  /** How much brightness trembles from frame to frame, 0 … 1. */
  readonly flicker: number;
}

/** The columns, in their order. */
export const SCORE_NAMES: readonly (keyof ClipScores)[] = [
  ...(["motion", "camera", "local", "moving", "still", "sharpness"] as const),
  ...(["brightness", "contrast", "dark", "bright", "letterbox", "flicker"] as const),
];

/** Luma of neighbouring frames differs by less where nothing changes: below what compression does to a still. */
const STILL = 0.3;

/**
 * Measures of some frames of a film, by the same names as the columns in docs/data.md.
 * @param from first frame @param to the frame after the last
 */
export function scoresOf({ columns }: Curves, from: number, to: number): ClipScores {
  const { motion, camera, local, moving, change, sharpness, mean, variance, dark, bright, bars } = columns;
  // What is measured against a frame before the clip says nothing of it: the first difference, and the first motion.
  const inside = change.subarray(from + 1, to);
  const moved = [...motion.subarray(from, to).keys()].filter((i) => !Number.isNaN(motion[from + i]!)).map((i) => from + i);
  const pairs = moved.slice(Number.isNaN(motion[from]!) && moved[0] !== from ? (from === 0 ? 0 : 1) : 1);
  const over = (column: Float32Array): number => average(pairs.map((i) => column[i]!));
  return rounded({
    motion: over(motion),
    camera: over(camera),
    local: over(local),
    moving: over(moving),
    still: to - from > 1 ? inside.filter((value) => value < STILL).length / inside.length : 1,
    sharpness: medianOf(sharpness.subarray(from, to)) ?? nearest(sharpness, from),
    brightness: average(mean.subarray(from, to)) / 255,
    contrast: average(variance.subarray(from, to).map(Math.sqrt)) / 255,
    dark: average(dark.subarray(from, to)),
    bright: average(bright.subarray(from, to)),
    // Bars are there all the time; a dark scene is not one.
    letterbox: leastOf(bars.subarray(from, to)) ?? nearest(bars, from),
    flicker: trembling(mean.subarray(from, to)) / 255,
  });
}

function average(values: ArrayLike<number>): number {
  let [sum, count] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    if (Number.isNaN(values[i]!)) continue;
    sum += values[i]!;
    count++;
  }
  return count === 0 ? 0 : sum / count;
}

function medianOf(values: Float32Array): number | undefined {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort();
  return sorted[sorted.length >> 1];
}

function leastOf(values: Float32Array): number | undefined {
  return values.filter((value) => !Number.isNaN(value)).sort()[0];
}

/** The last value before a frame. */
function nearest(values: Float32Array, frame: number): number {
  for (let i = frame; i >= 0; i--) if (!Number.isNaN(values[i]!)) return values[i]!;
  return 0;
}

/** Mean of how far a frame's brightness is from the mean of its neighbours'. */
function trembling(mean: Float32Array): number {
  if (mean.length < 3) return 0;
  let sum = 0;
  for (let i = 1; i + 1 < mean.length; i++) sum += Math.abs(mean[i]! - (mean[i - 1]! + mean[i + 1]!) / 2);
  return sum / (mean.length - 2);
}

/** Six digits: what follows is noise, and makes files longer. */
const rounded = (scores: ClipScores): ClipScores =>
  Object.fromEntries(
    Object.entries(scores).map(([name, value]) => [name, Number((value as number).toPrecision(6))]),
  ) as unknown as ClipScores;
