/**
 * A picture made small, about 160 pixels on its longer side: luma and hue, saturation, value in OpenCV's 8-bit ranges, which is what cuts
 * and most measures need. Four luma samples and one chroma sample stand for each of its pixels, so that a frame costs a small part of its
 * decoding.
 */
import type { Frame } from "../../video/frame.ts";
import { type Pixels, planeLength } from "../pixels.ts";

/** A plane of 8-bit luma, row by row; `stride` samples from row to row. */
export interface Luma {
  readonly data: Uint8Array | Uint16Array;
  readonly offset: number;
  readonly stride: number;
  readonly width: number;
  readonly height: number;
  /** Bits of a value beyond 8. */
  readonly shift: number;
}

const LONGER_SIDE = 160;

export interface SmallSize {
  readonly width: number;
  readonly height: number;
  /** Pixels of the picture for one of the small one, along a side; may lie between whole ones. */
  readonly scale: number;
}

export function smallSize(width: number, height: number): SmallSize {
  const scale = Math.max(1, Math.max(width, height) / LONGER_SIDE);
  return { width: Math.max(1, Math.floor(width / scale)), height: Math.max(1, Math.floor(height / scale)), scale };
}

export interface ChromaPlane {
  readonly data: Uint8Array | Uint16Array;
  readonly offset: number;
  readonly stride: number;
  readonly step: number;
}

/** How much of a picture's value there is in red, green and blue of a hue, beyond what its saturation takes: 1 where it is least. */
const LACKS = Float64Array.from({ length: 3 * 180 }, (_, i) => {
  // Red, green and blue are highest at 0, 60 and 120 (of 180).
  const away = Math.abs(((Math.floor(i / 3) - 60 * (i % 3) + 270) % 180) - 90);
  return Math.min(1, Math.max(0, away / 30 - 1));
});

export class SmallFrame {
  /** Luma, hue, saturation and value, one after another. */
  readonly planes: Uint8Array;
  /** 0 … 255, black to white. */
  readonly luma: Uint8Array;
  /** 0 … 179. */
  readonly hue: Uint8Array;
  readonly saturation: Uint8Array;
  readonly value: Uint8Array;
  #columns = new Int32Array(0);

  constructor(readonly size: SmallSize) {
    const pixels = size.width * size.height;
    const length = planeLength(pixels);
    this.planes = new Uint8Array(4 * length);
    const plane = (i: number): Uint8Array => this.planes.subarray(i * length, i * length + pixels);
    this.luma = plane(0);
    this.hue = plane(1);
    this.saturation = plane(2);
    this.value = plane(3);
  }

  set(other: SmallFrame): void {
    this.planes.set(other.planes);
  }

  /** As it looks, about: hues are of steps of 2 degrees. */
  rgba(): Frame {
    const { hue, saturation, value, size } = this;
    const data = new Uint8Array(4 * hue.length).fill(255);
    for (let i = 0; i < hue.length; i++) {
      const v = value[i]!;
      const range = (v * saturation[i]!) / 255;
      const lack = 3 * hue[i]!;
      data[4 * i] = v - range * LACKS[lack]!;
      data[4 * i + 1] = v - range * LACKS[lack + 1]!;
      data[4 * i + 2] = v - range * LACKS[lack + 2]!;
    }
    return { width: size.width, height: size.height, data };
  }

  takePlanes(pixels: Pixels, y: Luma, cb: ChromaPlane, cr: ChromaPlane, across: number, down: number, fullRange: boolean): void {
    const { width, height, scale } = this.size;
    const { shift } = y;
    const near = Math.floor(scale / 4);
    const far = Math.min(Math.ceil(scale) - 1, Math.floor((3 * scale) / 4));
    const [data, us, vs] = [y.data, cb.data, cr.data];
    // Where a small pixel's samples lie in a row: the same in each.
    if (this.#columns.length !== 3 * width) this.#columns = new Int32Array(3 * width);
    const places = this.#columns;
    for (let column = 0; column < width; column++) {
      const left = Math.floor(column * scale);
      const right = Math.min(left + far, y.width - 1);
      places[3 * column] = left + near;
      places[3 * column + 1] = right;
      places[3 * column + 2] = Math.floor(right / across);
    }
    const [sums, blues, reds] = pixels.planes(width * height);
    const [cbStep, crStep] = [cb.step, cr.step];
    for (let row = 0, at = 0; row < height; row++) {
      const top = Math.floor(row * scale);
      const one = y.offset + (top + near) * y.stride;
      const two = y.offset + Math.min(top + far, y.height - 1) * y.stride;
      const chromaRow = Math.floor((top + far) / down);
      const cbRow = cb.offset + chromaRow * cb.stride;
      const crRow = cr.offset + chromaRow * cr.stride;
      for (let column = 0; column < width; column++, at++) {
        const left = places[3 * column]!;
        const right = places[3 * column + 1]!;
        const chroma = places[3 * column + 2]!;
        sums[at] = data[one + left]! + data[one + right]! + data[two + left]! + data[two + right]!;
        blues[at] = (us[cbRow + chroma * cbStep]! >> shift) - 128;
        reds[at] = (vs[crRow + chroma * crStep]! >> shift) - 128;
      }
    }
    const [gain, black] = fullRange ? [1, 0] : [255 / 219, 16];
    pixels.fromSamples(width * height, gain / (4 << shift), black * gain, fullRange ? 1 : 255 / 224, this.planes);
  }

  takeRgba(pixels: Pixels, data: Uint8Array, stride: number): void {
    const { width, height, scale } = this.size;
    const middle = Math.floor(scale / 2);
    const [reds, greens, blues] = pixels.planes(width * height);
    for (let row = 0, at = 0; row < height; row++) {
      for (let column = 0; column < width; column++, at++) {
        const from = 4 * ((Math.floor(row * scale) + middle) * stride + Math.floor(column * scale) + middle);
        reds[at] = data[from]!;
        greens[at] = data[from + 1]!;
        blues[at] = data[from + 2]!;
      }
    }
    pixels.fromRgb(width * height, this.planes);
  }
}
