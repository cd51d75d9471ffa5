/**
 * Inflating what may be a bomb: a kilobyte of deflated data can stand for a megabyte. It goes on in small steps, and
 * only for as long as somebody takes what comes.
 */
import { Unzlib } from "fflate";
import { joined } from "../../base/joined.ts";

/** Deflated bytes that are given at once: at most 1032 times as many come of them, 17 MB. */
const STEP = 2 ** 14;

/**
 * Inflates zlib data that lie in `parts`, one after another. `take` gets what comes, in order, and says whether it wants more.
 *
 * @param progress called after every step
 * @throws the library's error where the data are damaged
 */
export function inflate(parts: readonly Uint8Array[], take: (bytes: Uint8Array) => boolean, progress: () => void): void {
  let wanted = true;
  const stream = new Unzlib((bytes) => {
    if (wanted) wanted = take(bytes);
  });
  for (const part of parts) {
    for (let at = 0; at < part.length && wanted; at += STEP) {
      // A copy: the library keeps what it has not yet used.
      stream.push(part.slice(at, at + STEP), false);
      progress();
    }
  }
}

/** All of it, or `undefined` where it is damaged or more than `most` bytes. */
export function inflateAtMost(part: Uint8Array, most: number): Uint8Array | undefined {
  const out: Uint8Array[] = [];
  let length = 0;
  try {
    inflate(
      [part],
      (bytes) => (out.push(bytes), (length += bytes.length) <= most),
      () => {},
    );
  } catch {
    return undefined;
  }
  return length > most ? undefined : joined(out);
}
