/** What a reader of pictures or films is, where untrusted bytes are read: see read.ts. */
import type { Frame } from "../frame.ts";

/** A frame, as it is to be shown: upright, in square pixels, RGBA. */
export interface ReadFrame extends Frame {
  /** When it is shown, in seconds from the first frame that is shown; `undefined` for a picture. */
  seconds?: number;
  /** For how long, in seconds, where the file says so. */
  duration?: number;
}

/** What may be taken from a file, whatever its headers say. */
export interface MediaLimits {
  /** Most pixels of one frame. */
  pixels: number;
  /** Most frames that one call gives. */
  frames: number;
  /** Most bytes of all frames that one call gives, as RGBA. */
  bytes: number;
}

export interface ReadContext {
  /** What the bytes are called in messages: a path, or "the video". */
  name: string;
  /** Stop after so many frames; no more are decoded. */
  maxFrames: number;
  limits: MediaLimits;
  /** Tells what a user should know of a file that was read all the same. */
  warn(message: string): void;
  /** Called whenever reading got ahead; what does not call it for long is ended. */
  progress(): void;
}

/**
 * Reads one kind of file: frames in the order in which they are shown. Throws a CogwheelError of room
 * "video" for whatever is refused, and nothing else.
 */
export type Reader = (bytes: Uint8Array, context: ReadContext) => AsyncGenerator<ReadFrame, void, undefined>;
