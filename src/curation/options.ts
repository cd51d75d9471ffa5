/** What a curation can be told, and what holds where it is not. */
import { CLIP_DEFAULTS, type ClipLengths } from "./cuts/clips.ts";
import { DETECT_DEFAULTS, type DetectOptions } from "./cuts/detect.ts";
import { ALIKE } from "./measures/duplicates.ts";

/** How films are cut: what finds changes of shot, how long clips are, and whether they are copied. */
export interface CutOptions extends DetectOptions, ClipLengths {
  /** Whether packets are copied where that can be, and not encoded anew. */
  readonly copy: boolean;
}

/** What holds of `cut` where a config says nothing. */
export const CUT_DEFAULTS: CutOptions = { ...DETECT_DEFAULTS, ...CLIP_DEFAULTS, copy: true };

/** Which clips stay. */
export interface SelectOptions {
  /** An expression over columns; without one all clips stay. */
  readonly where?: string;
  readonly duplicates: "drop" | "keep";
  /** Bits of 64 that perceptual hashes of duplicates differ in at most. */
  readonly alike: number;
}

/** What holds of `select` where a config says nothing: all clips stay, but for duplicates. */
export const SELECT_DEFAULTS: SelectOptions = { duplicates: "drop", alike: ALIKE };
