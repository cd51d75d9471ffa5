/**
 * What is taken from a file, whatever its headers say: 65 bytes can ask for 20,000 × 20,000 pixels and three frames. Readers ask here
 * as soon as they know a size or a number of frames, before anything is decoded or memory is taken.
 */
import { CogwheelError } from "../../base/errors.ts";
import type { MediaLimits, ReadContext } from "./reader.ts";

/**
 * 64 Mi pixels a frame, which holds the 50 megapixels of a phone; 2 GiB of frames in a call, as RGBA: 64 of 3840×2160, 1553 of 720×480;
 * and no more than 100,000 of them.
 */
export const DEFAULT_LIMITS: MediaLimits = { pixels: 2 ** 26, frames: 100_000, bytes: 2 ** 31 };

type Asked = Pick<ReadContext, "name" | "limits" | "maxFrames">;

/**
 * Refuses a size that is none, or that has more pixels than one frame may have.
 * @param where what says so, or what makes it so
 */
export function refuseBeyondPixels({ name, limits }: Asked, width: number, height: number, where = "in its header"): void {
  if (!(width >= 1 && height >= 1))
    throw new CogwheelError(
      "video",
      `${name} must be at least 1×1 pixels, got ${width}×${height} ${where}; the file is damaged or no picture`,
    );
  if (width * height <= limits.pixels) return;
  throw new CogwheelError(
    "video",
    `${name} must have at most ${count(limits.pixels)} pixels a frame, ` +
      `got ${width}×${height} ${where}; scale it down first, or raise limits.pixels`,
  );
}

/**
 * Refuses `frames` of a size, the number that a header promises, where what is wanted of them is more than one call gives. Where a file
 * does not say how many it has, readers call this with the number read so far.
 */
export function refuseBeyondFrames({ name, limits, maxFrames }: Asked, width: number, height: number, frames: number): void {
  const wanted = Math.min(frames, maxFrames);
  if (wanted > limits.frames)
    throw new CogwheelError(
      "video",
      `${name} must have at most ${count(limits.frames)} frames, got ${count(frames)}; ` +
        "read fewer of them (--frames, or maxFrames of decodeVideo), or raise limits.frames",
    );
  const bytes = 4 * width * height * wanted;
  if (bytes <= limits.bytes) return;
  throw new CogwheelError(
    "video",
    `${name} must be at most ${mebibytes(limits.bytes)} MiB when it is decoded, ` +
      `got ${count(wanted)} frames of ${width}×${height}, which are ${mebibytes(bytes)}; ` +
      "read fewer of them (--frames, or maxFrames of decodeVideo), scale it down first, or raise limits.bytes",
  );
}

/** In whole MiB, or to a tenth where they are few; upwards, so that what is too large does not look as if it fitted. */
export const mebibytes = (bytes: number): string =>
  (Math.ceil((bytes / 2 ** 20) * (bytes < 2 ** 24 ? 10 : 1)) / (bytes < 2 ** 24 ? 10 : 1)).toLocaleString("en-US");

const count = (value: number): string => value.toLocaleString("en-US", { maximumFractionDigits: 0 });
