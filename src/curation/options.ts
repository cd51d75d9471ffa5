/** What a curation can be told, and what holds where it is not. */
import { CLIP_DEFAULTS, type ClipLengths } from "./cuts/clips.ts";
import { DETECT_DEFAULTS, type DetectOptions } from "./cuts/detect.ts";
import { ALIKE } from "./measures/duplicates.ts";

export interface CutOptions extends DetectOptions, ClipLengths {
  /** Whether packets are copied where that can be, and not encoded anew. */
  readonly copy: boolean;
}

export const CUT_DEFAULTS: CutOptions = { ...DETECT_DEFAULTS, ...CLIP_DEFAULTS, copy: true };

export interface SelectOptions {
  /** An expression over columns; without one all clips stay. */
  readonly where?: string;
  readonly duplicates: "drop" | "keep";
  /** Bits of 64 that perceptual hashes of duplicates differ in at most. */
  readonly alike: number;
}

export const SELECT_DEFAULTS: SelectOptions = { duplicates: "drop", alike: ALIKE };
