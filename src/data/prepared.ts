/** What is asked of clips that are prepared for training, and what they are then. */
import type { ClipSizes } from "./clip-size.ts";
import type { ClipRow } from "./folder.ts";
import type { ClipStore } from "./store.ts";

/** What `prepareClips` makes of clips, and where it keeps that. */
export interface PrepareClipsOptions {
  readonly sizes: ClipSizes;
  /** Where results are kept: a folder (Node), or `memory`. Default: this user's caches. */
  readonly cache?: string;
  /** Is "" encoded too, for clips that are learned without their text? Default false. */
  readonly emptyText?: boolean;
  /** How many draws of noise a clip's first frame is encoded with, for models that take an image. Default 4. */
  readonly imageNoises?: number;
  readonly signal?: AbortSignal;
  /** Share of a stage that is done, 0 to 1. */
  readonly onProgress?: (stage: string, done: number, detail?: string) => void;
  /** Broken clips that are left out, captions that are too long. */
  readonly onWarning?: (message: string) => void;
}

/** A clip whose results are kept. */
export interface PreparedClip {
  readonly row: ClipRow;
  /** Digests of the clip's bytes and of what its results follow from. */
  readonly content: string;
  readonly latents: string;
  readonly text: string;
  /** Of its first frame, one for each draw of noise. */
  readonly images: readonly string[];
}

/** Clips that were read, checked and encoded. */
export interface PreparedClips {
  readonly clips: readonly PreparedClip[];
  readonly store: ClipStore;
  /** The key of "". */
  readonly emptyText: string;
  /** Names of clips that cannot be read. */
  readonly broken: readonly string[];
  /** What a run that goes on must find again. */
  readonly identity: Readonly<Record<string, unknown>>;
}
