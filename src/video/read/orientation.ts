/**
 * The eight ways in which a picture may have to be turned to stand upright, as EXIF numbers them;
 * the matrix of a film says one of the same eight.
 */
import type { Frame } from "../frame.ts";

/**
 * 1 as it is, 2 mirrored left to right, 3 turned by 180°, 4 mirrored top to bottom, 5 mirrored on the diagonal from the top left,
 * 6 turned clockwise by 90°, 7 mirrored on the other diagonal, 8 turned clockwise by 270°: what has to be done to what is stored.
 */
export type Orientation = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8;

/** The stored picture (RGBA), upright. */
export function orient({ width, height, data }: Frame, orientation: Orientation): Frame {
  if (orientation === 1) return { width, height, data };
  const swapped = orientation >= 5;
  const [columns, rows] = swapped ? [height, width] : [width, height];
  const mirrored = orientation === 2 || orientation === 3 || orientation === 7 || orientation === 8;
  const flipped = orientation === 3 || orientation === 4 || orientation === 6 || orientation === 7;
  // The stored pixel of the first one shown, and how far the next one is to the right and below.
  const right = mirrored ? -1 : 1;
  const below = flipped ? -width : width;
  const start = (mirrored ? width - 1 : 0) + (flipped ? (height - 1) * width : 0);
  const [across, down] = swapped ? [below, right] : [right, below];
  const from = pixelsOf(data, width * height);
  const to = new Uint32Array(width * height);
  for (let y = 0, out = 0; y < rows; y++) {
    for (let x = 0, at = start + y * down; x < columns; x++, at += across) to[out++] = from[at]!;
  }
  return { width: columns, height: rows, data: new Uint8Array(to.buffer) };
}

/** RGBA as one number a pixel, over the same memory where its alignment allows it. */
export function pixelsOf(data: Uint8Array | Uint8ClampedArray, pixels: number): Uint32Array {
  if (data.byteOffset % 4 === 0) return new Uint32Array(data.buffer, data.byteOffset, pixels);
  return new Uint32Array(data.slice(0, 4 * pixels).buffer);
}
