/** A file, or its bytes → frames. */
import type { DecodedVideo, DecodeOptions } from "./decode-options.ts";

export type { DecodedVideo, DecodeLimits, DecodeOptions } from "./decode-options.ts";

/**
 * Reads a video (MP4, WebM, MOV, MKV), a picture (PNG, JPEG, WebP, GIF; all frames of one that moves), or a folder of PNG, JPEG and
 * WebP, one frame each, in the order of their names (by code units: frame-10 comes before frame-9).
 *
 * The bytes are not trusted: they are read in a child process, in browsers in a worker, and what they make of a demuxer or a codec (an
 * endless loop, all of the memory, a crash) ends that one and is a CogwheelError here.
 */
export async function decodeVideo(source: string | Uint8Array | ArrayBuffer, options: DecodeOptions = {}): Promise<DecodedVideo> {
  const { readVideo } = await import("./read-video.ts");
  return await readVideo(source, options);
}
