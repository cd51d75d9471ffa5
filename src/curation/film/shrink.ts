/**
 * A picture at a given size as ffmpeg makes it (`-s 48x27 -pix_fmt rgb24`): networks were trained on that. Planes are made small first,
 * rows and then columns, by a bicubic filter that is as wide as the picture is made smaller; chroma that comes subsampled at half as many
 * columns, of which each stands for two pixels; then they become red, green and blue. swscale does so in integers of 15 bits, here it is
 * float64: bytes differ by 2 or 3 at most. libswscale/utils.c (initFilter), output.c.
 */
import type { ChromaPlane, Luma } from "./small-frame.ts";

/** What a picture holds at full size. */
export type FullPicture =
  | {
      readonly kind: "planes";
      readonly y: Luma;
      readonly cb: ChromaPlane;
      readonly cr: ChromaPlane;
      /** Pixels of a chroma sample. */
      readonly across: number;
      readonly down: number;
    }
  | { readonly kind: "rgba"; readonly data: Uint8Array; readonly width: number; readonly height: number };

export interface ShrunkSize {
  readonly width: number;
  readonly height: number;
}

interface Samples {
  readonly data: Uint8Array | Uint16Array;
  readonly offset: number;
  /** Samples from row to row, and within a row. */
  readonly stride: number;
  readonly step: number;
  readonly width: number;
  readonly height: number;
}

/** Of each result: where its taps begin, and their weights, which sum to 1. */
interface Filter {
  readonly taps: number;
  readonly from: Int32Array;
  readonly weights: Float64Array;
}

/** Mitchell & Netravali's cubic with B = 0, C = 0.6, swscale's defaults. */
function cubic(distance: number): number {
  const d = Math.abs(distance);
  if (d < 1) return (1.4 * d - 2.4) * d * d + 1;
  return d < 2 ? ((-0.6 * d + 3) * d - 4.8) * d + 2.4 : 0;
}

/** Taps past an end count for the last sample there. */
function filterOf(from: number, to: number): Filter {
  const scale = from / to;
  const wide = Math.max(1, scale);
  const taps = Math.min(from, Math.ceil(4 * wide) + 1);
  const starts = new Int32Array(to);
  const weights = new Float64Array(to * taps);
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale - 0.5;
    const first = Math.ceil(centre - 2 * wide);
    const start = Math.max(0, Math.min(first, from - taps));
    starts[i] = start;
    let sum = 0;
    for (let at = first; at <= centre + 2 * wide; at++) {
      const weight = cubic((at - centre) / wide);
      const tap = i * taps + Math.min(Math.max(at, start), start + taps - 1) - start;
      weights[tap] = weights[tap]! + weight;
      sum += weight;
    }
    for (let tap = i * taps; tap < (i + 1) * taps; tap++) weights[tap] = weights[tap]! / sum;
  }
  return { taps, from: starts, weights };
}

/** How planes become red, green and blue: what a film says, and BT.601 in the limited range where it says nothing, as swscale has it. */
export interface ShrunkColors {
  readonly fullRange: boolean;
  readonly bt709: boolean;
}

/** Quarters that a picture is turned by, clockwise, so that it stands upright. */
export type QuarterTurn = 0 | 90 | 180 | 270;

/** Makes pictures small, one after another; filters are kept for those of one size. */
export class Shrinker {
  readonly #filters = new Map<string, Filter>();
  #rows = new Float64Array(0);

  constructor(
    readonly size: ShrunkSize,
    readonly turn: QuarterTurn = 0,
    readonly colors: ShrunkColors = { fullRange: false, bt709: false },
  ) {}

  /** Red, green and blue of each pixel, row by row. */
  shrink(picture: FullPicture): Uint8Array<ArrayBuffer> {
    const { width, height } = this.size;
    const out = new Uint8Array(3 * width * height);
    if (picture.kind === "rgba") {
      const { data, width: wide, height: high } = picture;
      for (let channel = 0; channel < 3; channel++) {
        const small = this.#plane({ data, offset: channel, stride: 4 * wide, step: 4, width: wide, height: high }, 0, width);
        for (let i = 0; i < small.length; i++) out[3 * i + channel] = byte(small[i]!);
      }
      return out;
    }
    const { y, cb, cr, across, down } = picture;
    const { fullRange, bt709 } = this.colors;
    const whole = across === 1 && down === 1;
    const half = whole ? width : Math.ceil(width / 2);
    // Where two pixels share a colour, swscale cuts off fractions.
    const cut = whole ? (value: number): number => value : Math.floor;
    const luma = this.#plane({ ...y, step: 1 }, y.shift, width);
    const chroma = { width: Math.ceil(y.width / across), height: Math.ceil(y.height / down) };
    const [blue, red] = [cb, cr].map((plane) => this.#plane({ ...plane, ...chroma }, y.shift, half)) as [Float64Array, Float64Array];
    const [gain, black] = fullRange ? [1, 0] : [255 / 219, 16];
    const chromaGain = fullRange ? 1 : 255 / 224;
    const [kr, kb] = bt709 ? [0.2126, 0.0722] : [0.299, 0.114];
    const kg = 1 - kr - kb;
    for (let row = 0, at = 0; row < height; row++)
      for (let column = 0; column < width; column++, at++) {
        const pair = row * half + (whole ? column : column >> 1);
        const light = cut(gain * (byte(luma[at]!) - black));
        const [u, v] = [chromaGain * (byte(blue[pair]!) - 128), chromaGain * (byte(red[pair]!) - 128)];
        out[3 * at] = byte(light + cut(2 * (1 - kr) * v));
        out[3 * at + 1] = byte(light + cut((-2 * kb * (1 - kb) * u - 2 * kr * (1 - kr) * v) / kg));
        out[3 * at + 2] = byte(light + cut(2 * (1 - kb) * u));
      }
    return out;
  }

  /** A plane at `width` columns (as it is shown) and the size's rows, upright, in 8 bits that are not rounded yet. */
  #plane(samples: Samples, shift: number, width: number): Float64Array {
    const { height } = this.size;
    const lies = this.turn % 180 === 90;
    const small = this.#resized(samples, lies ? height : width, lies ? width : height, 1 / (1 << shift));
    return this.turn === 0 ? small : turned(small, lies ? height : width, lies ? width : height, this.turn);
  }

  #resized({ data, offset, stride, step, width, height }: Samples, columns: number, rows: number, gain: number): Float64Array {
    const across = this.#filter(width, columns);
    const down = this.#filter(height, rows);
    if (this.#rows.length < columns * height) this.#rows = new Float64Array(columns * height);
    const lines = this.#rows;
    for (let row = 0; row < height; row++) {
      const line = offset + row * stride;
      for (let column = 0; column < columns; column++) {
        const from = line + step * across.from[column]!;
        const weights = column * across.taps;
        let sum = 0;
        for (let j = 0; j < across.taps; j++) sum += across.weights[weights + j]! * data[from + step * j]!;
        lines[row * columns + column] = sum * gain;
      }
    }
    const out = new Float64Array(columns * rows);
    for (let row = 0; row < rows; row++)
      for (let j = 0; j < down.taps; j++) {
        const weight = down.weights[row * down.taps + j]!;
        const line = (down.from[row]! + j) * columns;
        for (let column = 0, at = row * columns; column < columns; column++, at++) out[at] = out[at]! + weight * lines[line + column]!;
      }
    return out;
  }

  #filter(from: number, to: number): Filter {
    const key = `${from} ${to}`;
    let filter = this.#filters.get(key);
    if (!filter) this.#filters.set(key, (filter = filterOf(from, to)));
    return filter;
  }
}

function turned(plane: Float64Array, width: number, height: number, turn: QuarterTurn): Float64Array {
  if (turn === 180) return plane.toReversed();
  const out = new Float64Array(plane.length);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const [row, column] = turn === 90 ? [x, height - 1 - y] : [width - 1 - x, y];
      out[row * height + column] = plane[y * width + x]!;
    }
  return out;
}

const byte = (value: number): number => (value <= 0 ? 0 : value >= 255 ? 255 : (value + 0.5) | 0);
