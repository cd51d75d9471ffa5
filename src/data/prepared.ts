/** What is asked of clips that are prepared for training, and what they are then. */
import type { ClipSizes } from "./clip-size.ts";
import type { ClipRow } from "./folder.ts";
import type { ClipStore, StoredTensors } from "./store.ts";

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

/** The same with others who encode too, such as workers of a queue. */
export interface PrepareTogetherOptions extends PrepareClipsOptions {
  /** Default: this process alone. */
  readonly sharing?: SharedEncoding;
}

/** A clip to be encoded, as JSON says it; its file is given beside it. */
export interface ClipTask {
  readonly kind: "clip";
  /** What messages call it. */
  readonly file: string;
  readonly sizes: ClipSizes;
  /** What sides are multiples of; lengths are so many frames, times k, and one more. */
  readonly spatial: number;
  readonly temporal: number;
  /** Keys of what is wanted: of the clip's latents, of its first frame by the number of the noise. */
  readonly latents?: string;
  readonly images: readonly (readonly [noise: number, key: string])[];
}

/** A caption to be encoded. */
export interface TextTask {
  readonly kind: "text";
  readonly text: string;
  readonly tokens: number;
  readonly key: string;
}

export type EncodeTask = ClipTask | TextTask;

/** What an encoder made of a task, by key. */
export interface EncodedTask {
  readonly results: ReadonlyMap<string, StoredTensors>;
  /** Of a caption that was too long: its end. */
  readonly cut?: string;
}

/** A task that anyone may do. */
export interface SharedEncodeTask {
  readonly task: EncodeTask;
  /** The clip's file. */
  input?(): Promise<Uint8Array>;
  /** Does it in this process, and keeps what comes out. */
  here(): Promise<void>;
  /** Keeps what another made. */
  keep(encoded: EncodedTask): Promise<void>;
  /** Another could not read the clip. @param why the rule that it breaks */
  broken(why: string): void;
}

/** Has tasks done by others and by this process. */
export interface SharedEncoding {
  /** Resolves when all are done. @param onDone after each; what it throws ends the work */
  share(tasks: readonly SharedEncodeTask[], onDone: (task: EncodeTask) => void): Promise<void>;
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
