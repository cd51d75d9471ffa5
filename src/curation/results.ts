/** What each stage of a curation gives the next one. */
import type { PlannedClip } from "./cuts/clips.ts";
import type { Transition } from "./cuts/detect.ts";
import type { ClipScores } from "./measures/scores.ts";
import type { MediaFacts, Source } from "./types.ts";

/** A film or picture of the folder, after `scan`. */
export interface ScannedSource {
  readonly source: Source;
  readonly facts: MediaFacts;
  /** Its full path. */
  readonly full: string;
  /** Of its result in the ledger. */
  readonly key: string;
}

/** A source with its changes of shot and the clips between them, after `cut`. */
export interface CutSource extends ScannedSource {
  /** The file of its curves. */
  readonly curves: string;
  readonly curvesKey: string;
  readonly frames: number;
  readonly transitions: readonly Transition[];
  readonly clips: readonly PlannedClip[];
  /** Why there are none. */
  readonly none?: string;
}

/** A clip with what was measured of it, after `measure`. */
export interface ScoredClip {
  readonly clip: PlannedClip;
  readonly of: CutSource;
  readonly scores: ClipScores & Readonly<Record<string, number | null>>;
  /** Perceptual hashes, 16 hex digits, of frames at a tenth, half and nine tenths of it. */
  readonly hashes: readonly string[];
  /** What filters ask for. */
  readonly columns: Readonly<Record<string, unknown>>;
  /** Further columns of its row. */
  readonly more?: Readonly<Record<string, unknown>>;
}

/** A clip's file in the store. */
export interface WrittenClip {
  readonly file: string;
  readonly how: "copied" | "encoded";
  readonly bytes: number;
  readonly sha256: string;
  readonly ending: string;
  readonly frames: number;
  readonly fps: number;
  readonly width: number;
  readonly height: number;
}

/** What a row says of a clip's caption. */
export interface CaptionColumns {
  /** In place of what a person wrote. */
  readonly caption?: string;
  readonly [column: string]: unknown;
}
