/**
 * A perceptual hash of 64 bits: the lowest frequencies of a picture's luma, each above or below their median. Pictures that look alike
 * differ in few bits, whatever their size and compression (the DCT hash of Zauner 2010, as PySceneDetect and ImageHash have it).
 */
import type { SmallFrame } from "../film/small-frame.ts";
import type { Pixels } from "../pixels.ts";

/** Writes the 8 bytes of a hash, and behind it the mean luma of 8 × 8 parts of the picture. */
export function perceptualHash(pixels: Pixels, { luma, size: { width, height } }: SmallFrame, out: Uint8Array, at: number): void {
  const low = pixels.frequencies(luma, width, height, out.subarray(at + 8, at + 72));
  const sorted = low.toSorted();
  const median = (sorted[31]! + sorted[32]!) / 2;
  for (let byte = 0; byte < 8; byte++) {
    let bits = 0;
    for (let bit = 0; bit < 8; bit++) bits = (bits << 1) | (low[8 * byte + bit]! > median ? 1 : 0);
    out[at + byte] = bits;
  }
}
