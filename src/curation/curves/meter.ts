/** One row of the curves for each picture of a film, as it is decoded. */
import type { ShownFrame } from "../film/frames.ts";
import { SmallFrame, type SmallSize } from "../film/small-frame.ts";
import type { Pixels } from "../pixels.ts";
import { type CurveName, CURVES, Curves } from "./columns.ts";
import { MotionMeter } from "./motion.ts";
import { perceptualHash } from "./hash.ts";
import { barsOf, sharpnessOf } from "./picture.ts";

/** Motion is measured between pictures so far apart at least, in seconds: 8 a second, whatever the film's rate. */
const MOTION_EVERY = 0.12;
const PICTURE_EVERY = 0.45;
const BINS = 128;
/** Of luma, 0 … 255: up to the one, from the other on. */
const DARK = 8;
const BRIGHT = 247;
/** How far back the low rates look. */
const BACK = 8;

/** Rows are kept in blocks, so that a long film is never copied as it grows. */
class Growing {
  #values = new Float32Array(1024);
  length = 0;
  push(value: number): void {
    if (this.length === this.#values.length) {
      const more = new Float32Array(2 * this.length);
      more.set(this.#values);
      this.#values = more;
    }
    this.#values[this.length++] = value;
  }
  get values(): Float32Array {
    return this.#values.slice(0, this.length);
  }
}

export class CurveMeter {
  readonly #columns = Object.fromEntries(CURVES.map((name) => [name, new Growing()])) as Record<CurveName, Growing>;
  readonly #seconds: number[] = [];
  /** 72 bytes a frame: its hash, then its parts. */
  #pictures = new Uint8Array(72 * 1024);
  #size: SmallSize | undefined;
  /** The pictures before, each in the place of the one that is too old. */
  #ring: SmallFrame[] = [];
  readonly #counts = new Int32Array(256);
  #histogram = new Int32Array(BINS);
  #before = new Int32Array(BINS);
  #motion: MotionMeter | undefined;
  #moved = Number.NEGATIVE_INFINITY;
  #looked = Number.NEGATIVE_INFINITY;
  #end = 0;

  constructor(readonly pixels: Pixels) {}

  get frames(): number {
    return this.#seconds.length;
  }

  add({ seconds, duration, small, luma }: Omit<ShownFrame, "full">): void {
    const index = this.#seconds.length;
    const { width, height } = small.size;
    // A stream may change its size: what was before cannot be compared.
    const fresh = this.#size?.width !== width || this.#size.height !== height;
    if (fresh) {
      this.#size = small.size;
      this.#ring = Array.from({ length: BACK }, () => new SmallFrame(small.size));
      this.#motion = new MotionMeter(this.pixels, small.size);
      this.#moved = Number.NEGATIVE_INFINITY;
    }
    const row: Partial<Record<CurveName, number>> = {};
    if (index > 0 && !fresh) {
      [row.change, row.hue, row.saturation, row.value] = this.#apart(small, this.#ring[(index - 1) % BACK]!);
      if (index % 4 === 0) row.content4 = mean(this.#apart(small, this.#ring[(index - 4) % BACK]!));
      if (index % 8 === 0) row.content8 = mean(this.#apart(small, this.#ring[index % BACK]!));
    }
    this.#addLuma(small, row, index > 0 && !fresh);
    if (seconds - this.#moved >= MOTION_EVERY || index === 0 || fresh) {
      const motion = this.#motion!.next(small.luma);
      const per = 1 / (seconds - this.#moved);
      if (motion) {
        row.motion = motion.all * per;
        row.camera = motion.camera * per;
        row.local = motion.local * per;
        row.moving = motion.moving;
      }
      this.#moved = seconds;
    }
    if (seconds - this.#looked >= PICTURE_EVERY || index === 0) {
      row.sharpness = sharpnessOf(this.pixels, luma());
      row.bars = barsOf(small);
      this.#looked = seconds;
    }
    for (const name of CURVES) this.#columns[name].push(row[name] ?? Number.NaN);
    if (72 * (index + 1) > this.#pictures.length) {
      const more = new Uint8Array(2 * this.#pictures.length);
      more.set(this.#pictures);
      this.#pictures = more;
    }
    perceptualHash(this.pixels, small, this.#pictures, 72 * index);
    this.#ring[index % BACK]!.set(small);
    this.#seconds.push(seconds);
    this.#end = seconds + duration;
  }

  /** @param packets times and key frames of the packets, from the first picture's time on */
  finish(packets: { readonly times: readonly number[]; readonly keys: readonly boolean[] }): Curves {
    const { keys, breaks } = packetMarks(this.#seconds, packets);
    const usual = this.#seconds.length > 1 ? this.#seconds.at(-1)! - this.#seconds.at(-2)! : 0;
    const end = Math.max(this.#end, (this.#seconds.at(-1) ?? 0) + (this.#end > (this.#seconds.at(-1) ?? 0) ? 0 : usual));
    return new Curves(
      Float64Array.from(this.#seconds),
      keys,
      breaks,
      this.#of(0, 8),
      this.#of(8, 64),
      Object.fromEntries(CURVES.map((name) => [name, this.#columns[name].values])) as Record<CurveName, Float32Array>,
      end,
    );
  }

  /** So many bytes of each frame. */
  #of(from: number, count: number): Uint8Array {
    const out = new Uint8Array(count * this.frames);
    for (let i = 0; i < this.frames; i++) out.set(this.#pictures.subarray(72 * i + from, 72 * i + from + count), count * i);
    return out;
  }

  /** Mean differences of luma, hue, saturation and value. */
  #apart(a: SmallFrame, b: SmallFrame): [luma: number, hue: number, saturation: number, value: number] {
    const pixels = a.luma.length;
    const [luma, hue, saturation, value] = this.pixels.differences(a.planes, b.planes, pixels);
    return [luma / pixels, hue / pixels, saturation / pixels, value / pixels];
  }

  #addLuma({ luma }: SmallFrame, row: Partial<Record<CurveName, number>>, compared: boolean): void {
    [this.#histogram, this.#before] = [this.#before, this.#histogram];
    const histogram = this.#histogram.fill(0);
    const counts = this.#counts.fill(0);
    for (let i = 0; i < luma.length; i++) counts[luma[i]!]!++;
    let [sum, squares, dark, bright] = [0, 0, 0, 0];
    for (let value = 0; value < 256; value++) {
      const count = counts[value]!;
      histogram[value >> 1]! += count;
      sum += count * value;
      squares += count * value * value;
      if (value <= DARK) dark += count;
      if (value >= BRIGHT) bright += count;
    }
    const average = sum / luma.length;
    row.mean = average;
    row.variance = Math.max(0, squares / luma.length - average * average);
    row.dark = dark / luma.length;
    row.bright = bright / luma.length;
    if (compared) row.histogram = correlation(histogram, this.#before);
  }
}

/** Which frames are key frames, and where the packets so far, in decoding order, are just the frames so far. */
function packetMarks(
  seconds: readonly number[],
  { times, keys }: { readonly times: readonly number[]; readonly keys: readonly boolean[] },
): { keys: Uint8Array; breaks: Uint8Array } {
  const marks = { keys: new Uint8Array(seconds.length), breaks: new Uint8Array(seconds.length) };
  const place = new Map(seconds.map((time, i) => [Math.round(1e5 * time), i]));
  if (seconds.length) marks.breaks[0] = 1;
  let most = -1;
  let count = 0;
  for (const [i, time] of times.entries()) {
    const frame = place.get(Math.round(1e5 * time)) ?? place.get(Math.round(1e5 * time) + 1) ?? place.get(Math.round(1e5 * time) - 1);
    if (frame === undefined) continue; // it gave no picture
    if (keys[i]) marks.keys[frame] = 1;
    most = Math.max(most, frame);
    count++;
    if (most === count - 1 && count < seconds.length) marks.breaks[count] = 1;
  }
  return marks;
}

/** Of hue, saturation and value. */
const mean = ([, h, s, v]: [number, number, number, number]): number => (h + s + v) / 3;

/** Pearson's, of two histograms; 1 where either is flat. */
function correlation(a: Int32Array, b: Int32Array): number {
  const average = a.reduce((sum, n) => sum + n, 0) / a.length;
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    const x = a[i]! - average;
    const y = b[i]! - average;
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  return aa === 0 || bb === 0 ? 1 : ab / Math.sqrt(aa * bb);
}
