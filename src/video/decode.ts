/** A file, or its bytes → frames. */
import type { Frame } from "./frame.ts";
import type { SandboxLimits } from "./sandbox/types.ts";

export type DecodeLimits = SandboxLimits;

export interface DecodeOptions {
  /** Stop after so many frames. */
  maxFrames?: number;
  signal?: AbortSignal;
  /** Told what a user should know of a file that was read all the same: frames that are missing, colours that are taken for others. */
  onWarning?: (message: string) => void;
  /** What may be taken from the file, where the defaults (docs/video.md) are too little. */
  limits?: Partial<DecodeLimits>;
  /**
   * Where the package's reader lies, for a bundler that does not bring it along: its `dist/cogwheel-media.js` (exported as
   * `cogwheel-webgpu/media`) in Node, the URL of its `dist/chunks/browser-media-worker.js` (`cogwheel-webgpu/media-worker`) in a browser.
   */
  reader?: string | URL;
}

export interface DecodedVideo {
  width: number;
  height: number;
  /** Frames a second, averaged; `undefined` for pictures. */
  fps: number | undefined;
  /** RGBA. */
  frames: Frame[];
}

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
