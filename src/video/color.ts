/**
 * Between RGB and the YCbCr that video codecs take, with the chroma halved in both directions (4:2:0) and Y in 16..235.
 *
 * It is done here, and not left to the codec, because what codecs make of RGB differs: the one for Node writes full-range
 * data with the matrix tagged as RGB, which players show in false colours, and its VP9 of that cannot be decoded.
 * Formulas: Recommendations ITU-R BT.601 and BT.709.
 */
import { withChannels, type Frame } from "./frame.ts";

export type Matrix = "smpte170m" | "bt709";

/** The weights of red and blue in Y. */
const WEIGHTS: Record<Matrix, { red: number; blue: number }> = {
  smpte170m: { red: 0.299, blue: 0.114 },
  bt709: { red: 0.2126, blue: 0.0722 },
};

/** The matrix that players assume for a size when a file does not say: BT.601 up to standard definition, else BT.709. */
export function matrixFor(width: number, height: number): Matrix {
  return width >= 1280 || height > 576 ? "bt709" : "smpte170m";
}

/** Planes Y, Cb, Cr, one after another; width and height must be even. */
export function toI420(frame: Frame, matrix: Matrix): Uint8Array<ArrayBuffer> {
  const { width, height } = frame;
  const rgb = withChannels(frame, 4);
  const { red, blue } = WEIGHTS[matrix];
  const green = 1 - red - blue;
  const out = new Uint8ClampedArray((width * height * 3) / 2); // which rounds
  for (let pixel = 0, at = 0; pixel < width * height; pixel++, at += 4) {
    out[pixel] = 16 + (219 / 255) * (red * rgb[at]! + green * rgb[at + 1]! + blue * rgb[at + 2]!);
  }
  const perBlue = 224 / 255 / (2 * (1 - blue)) / 4; // of the sum of four pixels
  const perRed = 224 / 255 / (2 * (1 - red)) / 4;
  const cb = width * height;
  const cr = cb + cb / 4;
  for (let y = 0, to = 0; y < height; y += 2) {
    for (let x = 0; x < width; x += 2, to++) {
      const above = 4 * (y * width + x);
      const below = above + 4 * width;
      const r = rgb[above]! + rgb[above + 4]! + rgb[below]! + rgb[below + 4]!;
      const g = rgb[above + 1]! + rgb[above + 5]! + rgb[below + 1]! + rgb[below + 5]!;
      const b = rgb[above + 2]! + rgb[above + 6]! + rgb[below + 2]! + rgb[below + 6]!;
      const luma = red * r + green * g + blue * b;
      out[cb + to] = 128 + perBlue * (b - luma);
      out[cr + to] = 128 + perRed * (r - luma);
    }
  }
  return new Uint8Array(out.buffer);
}

/** A plane of a decoded picture: `data[offset + y * stride + x * step]`. */
export interface Plane {
  offset: number;
  stride: number;
  step: number;
}

export interface YuvPicture {
  width: number;
  height: number;
  data: Uint8Array;
  luma: Plane;
  cb: Plane;
  cr: Plane;
  /** How many luma samples one chroma sample stands for, across and down: 1 or 2. */
  across: number;
  down: number;
  matrix: Matrix;
  fullRange: boolean;
}

/** RGBA; halved chroma is interpolated linearly between the centres of the pixels that share it. */
export function toRgba(picture: YuvPicture): Uint8Array<ArrayBuffer> {
  const { width, height, data, luma, cb, cr, across, down, fullRange } = picture;
  const { red, blue } = WEIGHTS[picture.matrix];
  const green = 1 - red - blue;
  const lumaScale = fullRange ? 1 : 255 / 219;
  const lumaZero = fullRange ? 0 : 16;
  const chromaScale = fullRange ? 1 : 255 / 224;
  const columns = Math.ceil(width / across);
  const rows = Math.ceil(height / down);
  const out = new Uint8ClampedArray(width * height * 4);
  for (let y = 0, to = 0; y < height; y++) {
    const { near: y0, far: y1, share: down1 } = neighbours(y, down, rows);
    for (let x = 0; x < width; x++, to += 4) {
      const { near: x0, far: x1, share: across1 } = neighbours(x, across, columns);
      const sample = ({ offset, stride, step }: Plane): number => {
        const above = data[offset + y0 * stride + x0 * step]! * (1 - across1) + data[offset + y0 * stride + x1 * step]! * across1;
        const below = data[offset + y1 * stride + x0 * step]! * (1 - across1) + data[offset + y1 * stride + x1 * step]! * across1;
        return chromaScale * (above * (1 - down1) + below * down1 - 128);
      };
      const value = lumaScale * (data[luma.offset + y * luma.stride + x * luma.step]! - lumaZero);
      const r = value + 2 * (1 - red) * sample(cr);
      const b = value + 2 * (1 - blue) * sample(cb);
      out[to] = r;
      out[to + 1] = (value - red * r - blue * b) / green;
      out[to + 2] = b;
      out[to + 3] = 255;
    }
  }
  return new Uint8Array(out.buffer);
}

/** The chroma sample that a pixel lies in, the next nearest one, and the share of the latter. */
function neighbours(pixel: number, factor: number, count: number): { near: number; far: number; share: number } {
  if (factor === 1) return { near: pixel, far: pixel, share: 0 };
  const near = pixel >> 1;
  return { near, far: Math.min(count - 1, Math.max(0, pixel & 1 ? near + 1 : near - 1)), share: 0.25 };
}
