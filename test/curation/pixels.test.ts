/** The WebAssembly that measures frames (wasm/pixels.ts) against the same in plain double precision: not one byte may differ. */
import { describe, expect, test } from "vitest";
import { type MotionLevel, openPixels, planeLength } from "../../src/curation/pixels.ts";

const pixels = await openPixels();

/** Numbers from 0 to 1 that are the same each time. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state >>> 8) / 2 ** 24;
  };
}

const byte = (value: number): number => (value <= 0 ? 0 : value >= 255 ? 255 : (value + 0.5) | 0);

/** Luma, hue, saturation and value of a pixel. */
function pixelOf(luma: number, red: number, green: number, blue: number): number[] {
  const [r, g, b] = [byte(red), byte(green), byte(blue)];
  const most = Math.max(r, g, b);
  const range = most - Math.min(r, g, b);
  const sixth = range === 0 ? 0 : most === r ? (g - b) / range : most === g ? 2 + (b - r) / range : 4 + (r - g) / range;
  const hue = 30 * sixth < 0 ? 30 * sixth + 180 : 30 * sixth;
  return [byte(luma), Math.trunc(hue), most === 0 ? 0 : Math.trunc((255 * range) / most), most];
}

describe("luma, hue, saturation and value", () => {
  test.each([
    { range: "limited", bits: 8 },
    { range: "full", bits: 8 },
    { range: "limited", bits: 12 },
  ])("of samples of $bits bits in the $range range", ({ range, bits }) => {
    const most = 4 * (2 ** bits - 1);
    const [gain, black] = range === "full" ? [1, 0] : [255 / 219, 16];
    const [lumaGain, chromaGain] = [gain / (4 << (bits - 8)), range === "full" ? 1 : 255 / 224];
    const count = 40_003; // no whole number of vectors
    const next = random(bits + range.length);
    const samples = Array.from({ length: count }, () => [
      Math.round(most * next()),
      Math.floor(256 * next()) - 128,
      Math.floor(256 * next()) - 128,
    ]);
    const planes = pixels.planes(count);
    for (const [i, sample] of samples.entries()) for (const k of [0, 1, 2]) planes[k]![i] = sample[k]!;
    const out = new Uint8Array(4 * planeLength(count));
    pixels.fromSamples(count, lumaGain, black * gain, chromaGain, out);
    const wrong = samples.flatMap(([sum, cb, cr], i) => {
      const [u, v] = [cb! * chromaGain, cr! * chromaGain];
      const luma = sum! * lumaGain - black * gain;
      const want = pixelOf(luma, luma + 1.5748 * v, luma - 0.1873 * u - 0.4681 * v, luma + 1.8556 * u);
      const got = [0, 1, 2, 3].map((k) => out[k * planeLength(count) + i]);
      return `${got}` === `${want}` ? [] : [{ sum, cb, cr, got, want }];
    });
    expect(wrong).toEqual([]);
  });

  test("of red, green and blue: every pair of extremes, and what lies between", () => {
    const values = [0, 1, 2, 6, 29, 85, 127, 128, 200, 254, 255];
    const colours = values.flatMap((r) => values.flatMap((g) => values.map((b) => [r, g, b])));
    const planes = pixels.planes(colours.length);
    for (const [i, colour] of colours.entries()) for (const k of [0, 1, 2]) planes[k]![i] = colour[k]!;
    const plane = planeLength(colours.length);
    const out = new Uint8Array(4 * plane);
    pixels.fromRgb(colours.length, out);
    expect(colours.map((_, i) => [0, 1, 2, 3].map((k) => out[k * plane + i]))).toEqual(
      colours.map(([r, g, b]) => pixelOf(0.2126 * r! + 0.7152 * g! + 0.0722 * b!, r!, g!, b!)),
    );
  });
});

test.each([1, 15, 16, 17, 1003])("differences of pictures of %d pixels", (count) => {
  const next = random(count);
  const plane = planeLength(count);
  const picture = (): Uint8Array =>
    Uint8Array.from({ length: 4 * plane }, (_, i) => Math.floor((Math.floor(i / plane) === 1 ? 180 : 256) * next()));
  const [a, b] = [picture(), picture()];
  const sum = (k: number, of: (difference: number) => number): number => {
    let all = 0;
    for (let i = k * plane; i < k * plane + count; i++) all += of(Math.abs(a[i]! - b[i]!));
    return all;
  };
  const plain = (difference: number): number => difference;
  expect(pixels.differences(a, b, count)).toEqual([
    sum(0, plain),
    sum(1, (turn) => (turn > 90 ? 180 - turn : turn)),
    sum(2, plain),
    sum(3, plain),
  ]);
});

test.each([
  { width: 1, height: 9, bits: 8 },
  { width: 8, height: 3, bits: 8 },
  { width: 131, height: 103, bits: 8 },
  { width: 64, height: 50, bits: 12 },
  { width: 77, height: 146, bits: 10 },
])("Laplacians of $width × $height samples of $bits bits", ({ width, height, bits }) => {
  const next = random(width);
  const [stride, offset] = [width + 5, 7];
  const values = Array.from({ length: offset + stride * height }, () => Math.floor(2 ** bits * next()));
  const data = bits > 8 ? Uint16Array.from(values) : Uint8Array.from(values);
  let [sum, squares, count] = [0, 0, 0];
  for (let y = 1; y < height - 1; y += 3)
    for (let x = 1; x < width - 1; x++, count++) {
      const at = offset + y * stride + x;
      const value = data[at - 1]! + data[at + 1]! + data[at - stride]! + data[at + stride]! - 4 * data[at]!;
      sum += value;
      squares += value * value;
    }
  expect(pixels.laplacians({ data, offset, stride, width, height })).toEqual([sum, squares, count]);
});

test.each([
  [160, 90],
  [90, 160],
  [33, 47],
  [5, 3],
])("lowest frequencies, and means of parts, of %d × %d pixels", (width, height) => {
  const next = random(width * height);
  const luma = Uint8Array.from({ length: width * height }, () => Math.floor(256 * next()));
  const square = new Float32Array(32 * 32);
  const isSmall = width < 32 || height < 32;
  for (let y = 0; y < 32; y++)
    for (let x = 0; x < 32; x++) {
      const [top, left] = [Math.floor((y * height) / 32), Math.floor((x * width) / 32)];
      const bottom = isSmall ? top + 1 : Math.floor(((y + 1) * height) / 32);
      const right = isSmall ? left + 1 : Math.floor(((x + 1) * width) / 32);
      let sum = 0;
      for (let row = top; row < bottom; row++) for (let column = left; column < right; column++) sum += luma[row * width + column]!;
      square[32 * y + x] = sum / ((bottom - top) * (right - left));
    }
  const cosine = (u: number, x: number): number => Math.fround(Math.cos(((2 * x + 1) * u * Math.PI) / 64));
  const rows = new Float32Array(32 * 8);
  for (let y = 0; y < 32; y++)
    for (let u = 0; u < 8; u++) {
      let sum = 0;
      for (let x = 0; x < 32; x++) sum += square[32 * y + x]! * cosine(u, x);
      rows[8 * y + u] = sum;
    }
  const low = Float64Array.from({ length: 64 }, (_, i) => {
    let sum = 0;
    for (let y = 0; y < 32; y++) sum += rows[8 * y + (i % 8)]! * cosine(Math.floor(i / 8), y);
    return sum;
  });
  const means = Uint8Array.from({ length: 64 }, (_, part) => {
    let sum = 0;
    for (let i = 0; i < 16; i++) sum += square[(4 * Math.floor(part / 8) + Math.floor(i / 4)) * 32 + 4 * (part % 8) + (i % 4)]!;
    return Math.round(sum / 16);
  });
  const parts = new Uint8Array(64);
  expect(pixels.frequencies(luma, width, height, parts)).toEqual(low);
  expect(parts).toEqual(means);
});

interface FlowLevel extends MotionLevel {
  before: Float32Array;
  after: Float32Array;
  across: Float32Array;
  down: Float32Array;
}

/** Lucas and Kanade's flow of one level, sample by sample. */
function plainFlow({ width, height, columns, rows, before, after, across, down }: FlowLevel, coarser: FlowLevel | undefined): void {
  for (let row = 0, block = 0; row < rows; row++)
    for (let column = 0; column < columns; column++, block++) {
      const [left, top] = [1 + 8 * column, 1 + 8 * row];
      const from = coarser ? Math.min(coarser.rows - 1, row >> 1) * coarser.columns + Math.min(coarser.columns - 1, column >> 1) : 0;
      let [u, v] = coarser ? [2 * coarser.across[from]!, 2 * coarser.down[from]!] : [0, 0];
      const inBlock = Array.from({ length: 64 }, (_, i) => (top + (i >> 3)) * width + left + (i & 7));
      const dx = inBlock.map((at) => (before[at + 1]! - before[at - 1]!) / 2);
      const dy = inBlock.map((at) => (before[at + width]! - before[at - width]!) / 2);
      const product = (a: number[], b: number[]): number => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
      const [xx, xy, yy] = [60 + product(dx, dx), product(dx, dy), 60 + product(dy, dy)];
      for (let step = 0; step < 4; step++) {
        let [bx, by] = [0, 0];
        for (const [i, here] of inBlock.entries()) {
          const px = Math.max(0, Math.min(width - 1.001, left + u + (i & 7)));
          const py = Math.max(0, Math.min(height - 1.001, top + v + (i >> 3)));
          // A block that lies within the picture has one place between pixels for all of it.
          const inside = left + u >= 0 && top + v >= 0 && left + u + 7 <= width - 1.001 && top + v + 7 <= height - 1.001;
          const [x0, y0] = inside ? [Math.trunc(left + u) + (i & 7), Math.trunc(top + v) + (i >> 3)] : [Math.trunc(px), Math.trunc(py)];
          const fx = inside ? left + u - Math.trunc(left + u) : px - x0;
          const fy = inside ? top + v - Math.trunc(top + v) : py - y0;
          const at = y0 * width + x0;
          const upper = after[at]! + fx * (after[at + 1]! - after[at]!);
          const lower = after[at + width]! + fx * (after[at + width + 1]! - after[at + width]!);
          const error = before[here]! - (upper + fy * (lower - upper));
          bx += error * dx[i]!;
          by += error * dy[i]!;
        }
        const [du, dv] = [(yy * bx - xy * by) / (xx * yy - xy * xy), (xx * by - xy * bx) / (xx * yy - xy * xy)];
        u += Math.max(-2, Math.min(2, du));
        v += Math.max(-2, Math.min(2, dv));
        if (du * du + dv * dv < 1e-4) break;
      }
      across[block] = Math.max(-width / 2, Math.min(width / 2, u));
      down[block] = Math.max(-height / 2, Math.min(height / 2, v));
    }
}

test.each([
  [160, 90],
  [61, 43],
  [10, 10],
])("flow between pictures of %d × %d pixels, some of it out of them", (width, height) => {
  const picture = (shift: number): Uint8Array =>
    Uint8Array.from({ length: width * height }, (_, i) => {
      const [x, y] = [(i % width) + shift, Math.floor(i / width) - 0.6 * shift];
      return 128 + 60 * Math.sin(x / 4) * Math.cos(y / 5) + 50 * Math.sin((x + y) / 11);
    });
  const [before, after] = [picture(0), picture(3.3)];
  const levels = [0, 1, 2]
    .map((level) => ({ width: width >> level, height: height >> level }))
    .map((size) => ({ ...size, columns: Math.floor((size.width - 2) / 8), rows: Math.floor((size.height - 2) / 8) }))
    .filter(({ columns, rows }) => columns > 0 && rows > 0);
  const placed: FlowLevel[] = [];
  for (const level of levels) {
    const finer = placed.at(-1);
    const halved = (from: Float32Array): Float32Array =>
      Float32Array.from({ length: level.width * level.height }, (_, i) => {
        const at = 2 * Math.floor(i / level.width) * finer!.width + 2 * (i % level.width);
        return (from[at]! + from[at + 1]! + from[at + finer!.width]! + from[at + finer!.width + 1]!) / 4;
      });
    const blocks = level.columns * level.rows;
    placed.push({
      ...level,
      before: finer ? halved(finer.before) : Float32Array.from(before),
      after: finer ? halved(finer.after) : Float32Array.from(after),
      across: new Float32Array(blocks),
      down: new Float32Array(blocks),
    });
  }
  for (let i = placed.length - 1; i >= 0; i--) plainFlow(placed[i]!, placed[i + 1]);
  const { across, down } = pixels.flow(before, after, levels);
  expect(across).toEqual(placed[0]!.across);
  expect(down).toEqual(placed[0]!.down);
  expect(across.some((value) => Math.abs(value) > 1)).toBe(true);
});
