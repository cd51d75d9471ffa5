/**
 * The plain image measure of the embedded checkpoint: what a clip of one shape on a plain background shows, told from
 * colours, centroid and area alone. The same rules as models/moving-shapes/train/measure.py.
 */
import type { Frame } from "../video/frame.ts";

export interface World {
  readonly colours: Readonly<Record<string, readonly number[]>>;
  readonly backgrounds: Readonly<Record<string, readonly number[]>>;
}
export interface Attributes {
  background: string;
  colour: string | null;
  motion: string | null;
  shape: string | null;
}

/** RGB distance from the clip's own background at which a pixel counts as foreground. */
const FOREGROUND_DISTANCE = 80;
/** Pixels; a smaller foreground counts as absent. */
const LEAST_AREA = 30;
/** Pixels between the mean centroids of the first and the last third. */
const LEAST_TRAVEL = 6;
/** Natural logarithm of the area's ratio, last third over first. */
const LEAST_LOG_AREA = 0.35;
/** Columns or rows at each side that tell the background. */
const BORDER = 2;

export function measure(clip: readonly Frame[], world: World): Attributes {
  const back = backgroundOf(clip);
  const { foreground, present } = seenIn(clip, back);
  const result: Attributes = { background: nearest(back, world.backgrounds), colour: null, motion: null, shape: null };
  if (present.length === 0) return result;
  result.colour = nearest(medianColour(foreground), world.colours);
  const fill = median(present.map((s) => s.fill));
  result.shape = fill > 0.89 ? "square" : fill > 0.65 ? "circle" : "triangle";

  const moved = movementOf(clip.length, present);
  if (moved) {
    const { dx, dy, growth } = moved;
    const travel = Math.max(Math.abs(dx), Math.abs(dy));
    if (travel >= LEAST_TRAVEL && travel / 16 >= Math.abs(growth)) {
      result.motion = Math.abs(dx) > Math.abs(dy) ? (dx > 0 ? "moving right" : "moving left") : dy > 0 ? "moving down" : "moving up";
    } else if (Math.abs(growth) >= LEAST_LOG_AREA) result.motion = growth > 0 ? "growing" : "shrinking";
  }
  return result;
}

/** The colour of the border. */
function backgroundOf(clip: readonly Frame[]): number[] {
  const { width, height } = clip[0]!;
  const border: number[][] = [];
  for (const { data } of clip)
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        const sides = +(x < BORDER || x >= width - BORDER) + +(y < BORDER || y >= height - BORDER);
        for (let s = 0; s < sides; s++)
          border.push([data[(y * width + x) * 4]!, data[(y * width + x) * 4 + 1]!, data[(y * width + x) * 4 + 2]!]);
      }
  return medianColour(border);
}

/** How far the shape's middle moved between the first and the last third, in pixels; null where it is not seen in both. */
export function travelOf(clip: readonly Frame[]): { readonly dx: number; readonly dy: number } | null {
  return movementOf(clip.length, seenIn(clip, backgroundOf(clip)).present);
}

interface Seen {
  readonly f: number;
  readonly area: number;
  readonly x: number;
  readonly y: number;
  readonly fill: number;
}

/** The colours of all pixels unlike the background, and what they make of each frame that has enough of them. */
function seenIn(clip: readonly Frame[], back: readonly number[]): { foreground: number[][]; present: Seen[] } {
  const { width, height } = clip[0]!;
  const foreground: number[][] = [];
  const seen = clip.map(({ data }, f) => {
    let [area, sx, sy, left, right, top, bottom] = [0, 0, 0, width, -1, height, -1];
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        const rgb = [data[(y * width + x) * 4]!, data[(y * width + x) * 4 + 1]!, data[(y * width + x) * 4 + 2]!];
        if (distance(rgb, back) <= FOREGROUND_DISTANCE) continue;
        foreground.push(rgb);
        area++;
        sx += x;
        sy += y;
        left = Math.min(left, x);
        right = Math.max(right, x);
        top = Math.min(top, y);
        bottom = Math.max(bottom, y);
      }
    return { f, area, x: sx / area, y: sy / area, fill: area / ((right - left + 1) * (bottom - top + 1)) };
  });
  return { foreground, present: seen.filter((s) => s.area >= LEAST_AREA) };
}

function movementOf(frames: number, present: readonly Seen[]) {
  const third = Math.floor(frames / 3);
  const first = present.filter((s) => s.f < third + 1);
  const last = present.filter((s) => s.f >= frames - third - 1);
  if (first.length === 0 || last.length === 0) return null;
  return {
    dx: mean(last.map((s) => s.x)) - mean(first.map((s) => s.x)),
    dy: mean(last.map((s) => s.y)) - mean(first.map((s) => s.y)),
    growth: Math.log(mean(last.map((s) => s.area)) / mean(first.map((s) => s.area))),
  };
}

function nearest(colour: readonly number[], palette: Readonly<Record<string, readonly number[]>>): string {
  return Object.keys(palette).reduce((a, b) => (distance(colour, palette[b]!) < distance(colour, palette[a]!) ? b : a));
}
const distance = (a: readonly number[], b: readonly number[]): number => Math.hypot(a[0]! - b[0]!, a[1]! - b[1]!, a[2]! - b[2]!);
const mean = (a: readonly number[]): number => a.reduce((s, v) => s + v, 0) / a.length;
function median(a: readonly number[]): number {
  const sorted = [...a].sort((x, y) => x - y);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}
const medianColour = (colours: readonly number[][]): number[] => [0, 1, 2].map((c) => median(colours.map((rgb) => rgb[c]!)));
