/**
 * RGB → the YCbCr that video codecs take, with the chroma halved in both directions (4:2:0) and Y in 16..235. The way back, from whatever
 * a film holds, is read/yuv.ts.
 *
 * It is done here, and not left to the codec, because what codecs make of RGB differs: the one for Node writes full-range
 * data with the matrix tagged as RGB, which players show in false colours, and its VP9 of that cannot be decoded.
 * Formulas: Recommendations ITU-R BT.601 and BT.709.
 */
import { withChannels, type Frame } from "./frame.ts";

export type ColorMatrix = "smpte170m" | "bt709";

/** The weights of red and blue in Y. */
const WEIGHTS: Record<ColorMatrix, { red: number; blue: number }> = {
  smpte170m: { red: 0.299, blue: 0.114 },
  bt709: { red: 0.2126, blue: 0.0722 },
};

/** The matrix that players assume for a size when a file does not say: BT.601 up to standard definition, else BT.709. */
export function matrixFor(width: number, height: number): ColorMatrix {
  return width >= 1280 || height > 576 ? "bt709" : "smpte170m";
}

/** Planes Y, Cb, Cr, one after another; width and height must be even. */
export function toI420(frame: Frame, matrix: ColorMatrix): Uint8Array<ArrayBuffer> {
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
