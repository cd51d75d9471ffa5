/** Reads a clip of a folder and brings it to the size and length that a model takes. */
import { readClip } from "../video/clip.ts";
import { fitFrames } from "../video/fit.ts";
import type { Frame } from "../video/frame.ts";
import { clipSize, type ClipSizes, wholeFrames } from "./clip-size.ts";
import type { ClipFolder, ClipRow } from "./folder.ts";

/** A clip, scaled. */
export interface ReadClip {
  readonly frames: readonly Frame[];
  /** [3, T, H, W] in −1…1, of all frames. */
  readonly pixels: Float32Array;
  readonly width: number;
  readonly height: number;
}

interface ReadPixelsOptions {
  readonly sizes: ClipSizes;
  readonly spatial: number;
  readonly temporal: number;
  readonly signal?: AbortSignal | undefined;
  readonly onWarning?: ((message: string) => void) | undefined;
}

/**
 * @param spatial what sides are multiples of @param temporal lengths are so many frames, times k, and one more
 * @param onWarning is told what of the file could not be read, such as frames behind the place where it was cut
 */
export async function readPixels(
  folder: Pick<ClipFolder, "read">,
  { file }: Pick<ClipRow, "file">,
  { sizes, spatial, temporal, signal, onWarning }: ReadPixelsOptions,
): Promise<ReadClip> {
  const read = await readClip(await folder.read(file, signal), {
    ...sizes,
    name: file,
    size: (width, height) => clipSize(width, height, sizes.resolution, spatial),
    ...(signal ? { signal } : {}),
    ...(onWarning ? { onWarning } : {}),
  });
  const frames = read.frames.slice(0, wholeFrames(read.frames.length, temporal));
  const [{ width, height }] = frames as [Frame];
  return { frames, pixels: fitFrames(frames, { width, height }), width, height };
}
