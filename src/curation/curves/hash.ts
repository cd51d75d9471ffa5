/**
 * A perceptual hash of 64 bits: the lowest frequencies of a picture's luma, each above or below their median. Pictures that look alike
 * differ in few bits, whatever their size and compression (the DCT hash of Zauner 2010, as PySceneDetect and ImageHash have it).
 */
import type { SmallFrame } from "../film/small-frame.ts";

const SIDE = 32;
const LOW = 8;
/** cos((2x + 1) u π / 64) for u of 0 … 7. */
const COSINES = Float32Array.from({ length: LOW * SIDE }, (_, i) =>
  Math.cos(((2 * (i % SIDE) + 1) * Math.floor(i / SIDE) * Math.PI) / (2 * SIDE)),
);

const square = new Float32Array(SIDE * SIDE);
const rows = new Float32Array(SIDE * LOW);
const low = new Float64Array(LOW * LOW);

/** Writes the 8 bytes of a hash, and behind it the mean luma of 8 × 8 parts of the picture. */
export function perceptualHash({ luma, size: { width, height } }: SmallFrame, out: Uint8Array, at: number): void {
  shrink(luma, width, height);
  for (let y = 0; y < SIDE; y++)
    for (let u = 0; u < LOW; u++) {
      let sum = 0;
      for (let x = 0; x < SIDE; x++) sum += square[y * SIDE + x]! * COSINES[u * SIDE + x]!;
      rows[y * LOW + u] = sum;
    }
  for (let v = 0; v < LOW; v++)
    for (let u = 0; u < LOW; u++) {
      let sum = 0;
      for (let y = 0; y < SIDE; y++) sum += rows[y * LOW + u]! * COSINES[v * SIDE + y]!;
      low[v * LOW + u] = sum;
    }
  const sorted = low.toSorted();
  const median = (sorted[31]! + sorted[32]!) / 2;
  for (let byte = 0; byte < 8; byte++) {
    let bits = 0;
    for (let bit = 0; bit < 8; bit++) bits = (bits << 1) | (low[8 * byte + bit]! > median ? 1 : 0);
    out[at + byte] = bits;
  }
  const side = SIDE / LOW;
  for (let part = 0; part < LOW * LOW; part++) {
    let sum = 0;
    for (let i = 0; i < side * side; i++)
      sum += square[(side * Math.floor(part / LOW) + Math.floor(i / side)) * SIDE + side * (part % LOW) + (i % side)]!;
    out[at + 8 + part] = Math.round(sum / (side * side));
  }
}

/** Means of areas, each pixel in the one that its corner lies in. */
function shrink(luma: Uint8Array, width: number, height: number): void {
  if (width < SIDE || height < SIDE) {
    for (let y = 0; y < SIDE; y++)
      for (let x = 0; x < SIDE; x++) square[y * SIDE + x] = luma[Math.floor((y * height) / SIDE) * width + Math.floor((x * width) / SIDE)]!;
    return;
  }
  for (let y = 0; y < SIDE; y++) {
    const [top, bottom] = [Math.floor((y * height) / SIDE), Math.floor(((y + 1) * height) / SIDE)];
    for (let x = 0; x < SIDE; x++) {
      const [left, right] = [Math.floor((x * width) / SIDE), Math.floor(((x + 1) * width) / SIDE)];
      let sum = 0;
      for (let row = top; row < bottom; row++) for (let column = left; column < right; column++) sum += luma[row * width + column]!;
      square[y * SIDE + x] = sum / ((bottom - top) * (right - left));
    }
  }
}
