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
  /** A small JPEG. */
  readonly picture: Uint8Array | undefined;
}
