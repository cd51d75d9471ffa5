/** What reading a video takes, and what it gives. */
import type { Frame } from "./frame.ts";
import type { SandboxLimits } from "./sandbox/types.ts";

/** How much a file of a stranger's may take before it is refused. */
export type DecodeLimits = SandboxLimits;

/** What `decodeVideo` reads of a file, and how. */
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

/** Frames of a film or a picture, as `decodeVideo` reads them. */
export interface DecodedVideo {
  width: number;
  height: number;
  /** Frames a second, averaged; `undefined` for pictures. */
  fps: number | undefined;
  /** RGBA. */
  frames: Frame[];
}
