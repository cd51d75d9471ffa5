/**
 * What Node and the browser both provide under the name `#sandbox`: a place where untrusted media are read and which can be ended,
 * whatever the bytes make of a demuxer or a codec. See node.ts (a child process) and browser.ts (a worker).
 */
import type { MediaLimits, ReadFrame } from "../read/reader.ts";

/** What may be taken from a file, and how long and in how much memory its reader may work. */
export interface SandboxLimits extends MediaLimits {
  /** Most bytes that the reader may have resident, beside the file itself. Node only: a browser's worker is bounded by the other limits. */
  memory: number;
  /** Most seconds without any progress (a packet, a frame, some rows). */
  seconds: number;
}

export interface MediaRequest {
  /** What the bytes are called in messages: a path, or "the video". */
  name: string;
  /** Stop after so many frames. */
  maxFrames: number;
  limits: SandboxLimits;
}

/** Bytes, or in Node the full path of a regular file, which the reader opens itself. */
export type MediaSource = { bytes: Uint8Array } | { path: string };

export interface ReadOptions {
  signal?: AbortSignal | undefined;
  onWarning?: ((message: string) => void) | undefined;
  /** Where the reader's own script lies: see DecodeOptions. */
  reader?: string | URL | undefined;
}

export interface Sandbox {
  /**
   * The frames of a file, in order. The reader's process or worker is ended at abort, at an early return, when it gets no further and
   * beyond its memory; otherwise it stays a little while for the next file, without holding anything open. A file that took the reader
   * over can so see the next ones and answer for them: it has the rights of the user, and only its ends and answers are watched.
   * Throws a CogwheelError, or the signal's reason.
   */
  readUntrusted(source: MediaSource, request: MediaRequest, options: ReadOptions): AsyncGenerator<ReadFrame, void, undefined>;
  /** A path as a source; throws a CogwheelError where there is nothing to read, or the signal's reason. */
  sourceAt(path: string, signal?: AbortSignal): Promise<MediaSource>;
}
