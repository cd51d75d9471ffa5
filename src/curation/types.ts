/** What the way from raw videos to a training set is made of: sources, the clips in them, and the stages that say something of either. */

/** A file that clips come from, known by its content: two files of the same bytes are one source. */
export interface Source {
  /** SHA-256 of the file, hex. */
  readonly hash: string;
  /** Where it lies: from the folder of videos, with slashes. */
  readonly path: string;
  readonly bytes: number;
}

/** What a source holds, as its headers and packets say. */
export interface MediaFacts {
  readonly kind: "film" | "picture";
  /** MP4, WebM, MPEG-TS, JPEG … */
  readonly container: string;
  /** H.264, VP9 …; of a picture its format. */
  readonly codec: string;
  /** As it is shown: turned, with square pixels. */
  readonly width: number;
  readonly height: number;
  /** Degrees clockwise by which the stored pictures are turned to be shown. */
  readonly rotation: number;
  /** Frames a second, averaged over packets; 0 for a picture. */
  readonly fps: number;
  /** Whether frames last for different times. */
  readonly variable: boolean;
  /** Packets of the video track, which are not always as many frames. */
  readonly packets: number;
  /** Seconds from the first frame to the end of the last. */
  readonly duration: number;
  /** Of the file: matrix, transfer, range where it tells. */
  readonly color?: string;
}

/** A part of a source that may become a sample: one shot, or a part of one. */
export interface SourceClip {
  /** 16 hex digits: of the source's hash, start and end. */
  readonly id: string;
  /** Its source's hash. */
  readonly source: string;
  /** Seconds from the source's first frame. The frame at `end` is no longer in it. */
  readonly start: number;
  readonly end: number;
  /** Frames a second of the source within it. */
  readonly fps: number;
  /** Frames of the source within it. */
  readonly frames: number;
  readonly width: number;
  readonly height: number;
}

/** A clip as a file of its own. A picture is one frame of 0 frames a second. */
export interface CutClip {
  readonly file: Uint8Array<ArrayBuffer>;
  /** What the file's name ends in. */
  readonly ending: "mp4" | "webm" | "png" | "jpg" | "webp";
  readonly how: "copied" | "encoded";
  readonly frames: number;
  readonly fps: number;
  readonly width: number;
  readonly height: number;
}

/** Where a clip lies in its source. */
export interface CutSpan {
  /** Seconds from the first picture. */
  readonly start: number;
  readonly end: number;
  readonly frames: number;
  readonly fps: number;
  /** Frames a second where it is encoded anew, if they are not `fps`: of a film of variable rate, so that no picture is left out. */
  readonly rate?: number;
}

/** What a stage said of something, as it stands in the ledger. Either `value` or `error` is there. */
export interface StageResult<Value = unknown> {
  readonly stage: string;
  /** Of the stage's version and parameters and its parents' keys: the same key is the same result. */
  readonly key: string;
  /** What it is of: a source's hash, a clip's id, or a file's path where its hash is not known. */
  readonly of: string;
  readonly value?: Value;
  /** Why there is none. */
  readonly error?: StageError;
  /** Milliseconds that it took. */
  readonly ms: number;
  /** What was paid for it. */
  readonly cost?: StageCost;
}

/** Why a stage has no result. */
export interface StageError {
  /** `[room] rule, got value; remedy.` */
  readonly message: string;
  /** Something outside the data (a full disk, an endpoint that is away): the next run tries again. */
  readonly retry?: true;
  /** It may be the machine's fault or the data's: where the next run comes to the same, it holds. */
  readonly twice?: true;
  /** What the message calls the file that this came of: another of the same content has the same result. */
  readonly name?: string;
}

/** What was asked of a paid endpoint, and what that cost. */
export interface StageCost {
  readonly requests?: number;
  readonly tokensIn?: number;
  readonly tokensOut?: number;
  /** In the currency of the prices that the config gives. */
  readonly money?: number;
}

/** A stage: work on one thing, with parameters that decide what comes out. */
export interface LedgerStage<Params, Input, Value> {
  /** Its name in the ledger and on the command line. */
  readonly name: string;
  /** Rises when the same parameters give another result. */
  readonly version: number;
  /** Everything that decides the result, and nothing else; part of the key. */
  readonly params: Params;
  /** What the result is of. */
  of(input: Input): string;
  /** Keys of the results that this one is made from. */
  parents(input: Input): readonly string[];
  /** The work. What it throws as a CogwheelError becomes the row's error. */
  run(input: Input, signal: AbortSignal | undefined): Promise<Value>;
}
