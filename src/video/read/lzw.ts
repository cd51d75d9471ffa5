/** The LZW of GIF: codes of growing width over blocks of up to 255 bytes, with a code that empties the table. */

const MOST_CODES = 4096;

/**
 * Decodes at most `pixels` palette indices from the blocks that begin at `at`, whatever the data go on to say. The result is shorter
 * where the data end before, or are damaged: a code that cannot be.
 *
 * @param bits width of an index, 1 to 8
 */
export function decodeLzw(bytes: Uint8Array, at: number, bits: number, pixels: number): Uint8Array {
  const clear = 1 << bits;
  const end = clear + 1;
  const prefix = new Uint16Array(MOST_CODES);
  const suffix = new Uint8Array(MOST_CODES);
  const length = new Uint16Array(MOST_CODES).fill(1);
  for (let code = 0; code < clear; code++) suffix[code] = code;
  // No more is taken than the data can give, at the longest string for every code: 65535×65535 pixels are easily asked for.
  let bytesLeft = 0;
  for (let block = at, size = bytes[block] ?? 0; size > 0; block += size + 1, size = bytes[block] ?? 0) bytesLeft += size;
  const out = new Uint8Array(Math.min(pixels, Math.ceil((8 * bytesLeft) / (bits + 1)) * MOST_CODES));
  pixels = out.length;
  let count = 0;
  let next = clear + 2;
  let width = bits + 1;
  let previous = -1;
  let held = 0;
  let heldBits = 0;
  for (let size = bytes[at] ?? 0; size > 0; at += size + 1, size = bytes[at] ?? 0) {
    for (let from = at + 1; from <= at + size; from++) {
      if (from >= bytes.length) return out.subarray(0, count);
      held |= bytes[from]! << heldBits;
      heldBits += 8;
      while (heldBits >= width) {
        const code = held & ((1 << width) - 1);
        held >>>= width;
        heldBits -= width;
        if (code === clear) {
          next = clear + 2;
          width = bits + 1;
          previous = -1;
          continue;
        }
        if (code === end || code > next || (code === next && previous < 0) || (previous < 0 && code > clear)) return out.subarray(0, count);
        // A code that is about to be defined stands for the previous string and its first index once more.
        const known = code < next ? code : previous;
        const run = length[known]!;
        let first = known;
        for (let place = count + run - 1; place >= count; place--) {
          if (place < pixels) out[place] = suffix[first]!;
          if (place > count) first = prefix[first]!;
        }
        const index = suffix[first]!;
        count += run;
        if (code === next && code !== known) {
          if (count < pixels) out[count] = index;
          count++;
        }
        if (previous >= 0 && next < MOST_CODES) {
          prefix[next] = previous;
          suffix[next] = index;
          length[next] = length[previous]! + 1;
          next++;
          if (next === 1 << width && width < 12) width++;
        }
        if (count >= pixels) return out;
        previous = code;
      }
    }
  }
  return out.subarray(0, count);
}
