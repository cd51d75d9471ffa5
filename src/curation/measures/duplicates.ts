/** Clips that look alike: perceptual hashes of three moments differ in few bits each, and they last about as long. */

/** A clip's hashes, 16 hex digits each, at a tenth, the middle and nine tenths of it. */
export interface HashedClip {
  readonly id: string;
  readonly hashes: readonly string[];
  readonly seconds: number;
}

/** Bits of 64 that alike pictures differ in, on average over the three. */
export const ALIKE = 6;

/** For each clip that is like one before it: that one. */
export function duplicatesOf(clips: readonly HashedClip[], alike = ALIKE): Map<string, string> {
  const found = new Map<string, string>();
  // Words of 32 bits, six a clip, side by side: every pair is looked at.
  const words = new Int32Array(6 * clips.length);
  for (const [i, { hashes }] of clips.entries())
    for (const [j, hash] of hashes.entries()) {
      words[6 * i + 2 * j] = Number.parseInt(hash.slice(0, 8), 16);
      words[6 * i + 2 * j + 1] = Number.parseInt(hash.slice(8), 16);
    }
  const most = 3 * alike;
  for (let i = 1; i < clips.length; i++)
    for (let j = 0; j < i; j++) {
      let bits = 0;
      for (let word = 0; word < 6 && bits <= most; word++) bits += ones(words[6 * i + word]! ^ words[6 * j + word]!);
      if (bits > most) continue;
      const [a, b] = [clips[i]!.seconds, clips[j]!.seconds];
      if (Math.abs(a - b) > 0.2 * Math.max(a, b)) continue;
      const first = clips[j]!.id;
      found.set(clips[i]!.id, found.get(first) ?? first);
      break;
    }
  return found;
}

/** Bits that are set, of 32. */
function ones(n: number): number {
  let v = n - ((n >>> 1) & 0x55555555);
  v = (v & 0x33333333) + ((v >>> 2) & 0x33333333);
  return (((v + (v >>> 4)) & 0x0f0f0f0f) * 0x01010101) >>> 24;
}
