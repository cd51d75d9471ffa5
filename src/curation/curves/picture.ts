/** What is measured of single pictures, some times a second: how sharp they are, and their black bars. */
import type { Pixels } from "../pixels.ts";
import type { Luma, SmallFrame } from "../film/small-frame.ts";

/** Variance of the Laplacian (4 neighbours) of 8-bit luma at full size: OpenCV's usual measure of blur. Low is blurred. */
export function sharpnessOf(pixels: Pixels, luma: Luma): number {
  const [sum, squares, count] = pixels.laplacians(luma);
  if (count === 0) return 0;
  const one = 1 / (1 << luma.shift);
  const mean = sum / count;
  return Math.max(0, squares / count - mean * mean) * one * one;
}

/** A line is of a bar where it is all but black, and even. */
const BLACK = 24;
const EVEN = 6;

/** Share of the picture that black bars at its edges take; 1 for a black picture. */
export function barsOf({ luma, size: { width, height } }: SmallFrame): number {
  const line = (from: number, step: number, count: number): boolean => {
    let [most, least] = [0, 255];
    for (let i = 0; i < count; i++) {
      const value = luma[from + i * step]!;
      if (value > most) most = value;
      if (value < least) least = value;
    }
    return most <= BLACK && most - least <= EVEN * 2;
  };
  const until = (count: number, isBar: (i: number) => boolean): number => {
    let i = 0;
    while (i < count && isBar(i)) i++;
    return i;
  };
  const top = until(height, (i) => line(i * width, 1, width));
  if (top === height) return 1;
  const bottom = until(height - top, (i) => line((height - 1 - i) * width, 1, width));
  const left = until(width, (i) => line(i, width, height));
  const right = until(width - left, (i) => line(width - 1 - i, width, height));
  return 1 - ((height - top - bottom) * (width - left - right)) / (width * height);
}
