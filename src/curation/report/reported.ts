/** What models said of a clip beside its caption. */
export interface ReportedWords {
  readonly short?: string;
  /** Frames that were described, with small JPEGs of them. */
  readonly frames?: readonly { readonly seconds: number; readonly text: string; readonly picture: Uint8Array | undefined }[];
  /** Rules that the caption breaks. */
  readonly violations?: readonly string[];
  /** Who wrote it. */
  readonly model?: string;
}

/** A clip as a report shows it. */
export interface ReportedClip {
  readonly id: string;
  readonly name: string;
  readonly start: number;
  readonly end: number;
  /** Its place in `films`. */
  readonly film: number;
  /** Undefined where it stays. */
  readonly reason: string | undefined;
  readonly duplicateOf: string | undefined;
  /** Null where nobody could tell. */
  readonly scores: Readonly<Record<string, number | null>>;
  readonly caption: string;
  /** What models said of it beside that. */
  readonly told?: ReportedWords | undefined;
  /** A small JPEG. */
  readonly picture: Uint8Array | undefined;
}
