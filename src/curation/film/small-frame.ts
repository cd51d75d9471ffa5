/**
 * A picture made small, about 160 pixels on its longer side: luma and hue, saturation, value in OpenCV's 8-bit ranges, which is what cuts
 * and most measures need. Four luma samples and one chroma sample stand for each of its pixels, so that a frame costs a small part of its
 * decoding.
 */
import type { Frame } from "../../video/frame.ts";

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

export class SmallFrame {
  /** 0 … 255, black to white. */
  readonly luma: Uint8Array;
  /** 0 … 179. */
  readonly hue: Uint8Array;
  readonly saturation: Uint8Array;
  readonly value: Uint8Array;
  #columns = new Int32Array(0);

  constructor(readonly size: SmallSize) {
    const pixels = size.width * size.height;
    this.luma = new Uint8Array(pixels);
    this.hue = new Uint8Array(pixels);
    this.saturation = new Uint8Array(pixels);
    this.value = new Uint8Array(pixels);
  }

  set(other: SmallFrame): void {
    this.luma.set(other.luma);
    this.hue.set(other.hue);
    this.saturation.set(other.saturation);
    this.value.set(other.value);
  }

  /** As it looks, about: hues are of steps of 2 degrees. */
  rgba(): Frame {
    const { hue, saturation, value, size } = this;
    const data = new Uint8Array(4 * hue.length).fill(255);
    for (let i = 0; i < hue.length; i++) {
      const [v, range] = [value[i]!, (value[i]! * saturation[i]!) / 255];
      // Red, green and blue are highest at 0, 60 and 120 (of 180).
      for (let channel = 0; channel < 3; channel++) {
        const away = Math.abs(((hue[i]! - 60 * channel + 270) % 180) - 90);
        data[4 * i + channel] = v - range * Math.min(1, Math.max(0, away / 30 - 1));
      }
    }
    return { width: size.width, height: size.height, data };
  }

  takePlanes(y: Luma, cb: ChromaPlane, cr: ChromaPlane, across: number, down: number, fullRange: boolean): void {
    const { width, height, scale } = this.size;
    const { shift } = y;
    const [gain, black] = fullRange ? [1, 0] : [255 / 219, 16];
    const chromaGain = fullRange ? 1 : 255 / 224;
    const near = Math.floor(scale / 4);
    const far = Math.min(Math.ceil(scale) - 1, Math.floor((3 * scale) / 4));
    const [data, us, vs] = [y.data, cb.data, cr.data];
    const lumaGain = gain / (4 << shift);
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
        const sum = data[one + left]! + data[one + right]! + data[two + left]! + data[two + right]!;
        const u = ((us[cbRow + chroma * cb.step]! >> shift) - 128) * chromaGain;
        const v = ((vs[crRow + chroma * cr.step]! >> shift) - 128) * chromaGain;
        const luma = sum * lumaGain - black * gain;
        this.#put(at, luma, luma + 1.5748 * v, luma - 0.1873 * u - 0.4681 * v, luma + 1.8556 * u);
      }
    }
  }

  takeRgba(data: Uint8Array, stride: number): void {
    const { width, height, scale } = this.size;
    const middle = Math.floor(scale / 2);
    for (let row = 0, at = 0; row < height; row++) {
      for (let column = 0; column < width; column++, at++) {
        const from = 4 * ((Math.floor(row * scale) + middle) * stride + Math.floor(column * scale) + middle);
        const [r, g, b] = [data[from]!, data[from + 1]!, data[from + 2]!];
        this.#put(at, 0.2126 * r + 0.7152 * g + 0.0722 * b, r, g, b);
      }
    }
  }

  #put(at: number, luma: number, red: number, green: number, blue: number): void {
    this.luma[at] = byte(luma);
    const r = byte(red);
    const g = byte(green);
    const b = byte(blue);
    const most = Math.max(r, g, b);
    const least = Math.min(r, g, b);
    const range = most - least;
    this.value[at] = most;
    this.saturation[at] = most === 0 ? 0 : (255 * range) / most;
    if (range === 0) {
      this.hue[at] = 0;
      return;
    }
    const sixth = most === r ? (g - b) / range : most === g ? 2 + (b - r) / range : 4 + (r - g) / range;
    const hue = 30 * sixth;
    this.hue[at] = hue < 0 ? hue + 180 : hue;
  }
}

const byte = (value: number): number => (value <= 0 ? 0 : value >= 255 ? 255 : (value + 0.5) | 0);
