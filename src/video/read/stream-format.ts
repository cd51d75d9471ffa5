/** What the header of a stream says of its pictures. */
export interface StreamFormat {
  /** Luma samples that share a chroma sample, across and down; 0 where there is no chroma. */
  across: 0 | 1 | 2;
  down: 0 | 1 | 2;
  depth: number;
  /** Numbers of ITU-T H.273; `undefined` where the stream has no word on it, so that the container's holds. */
  matrix: number | undefined;
  transfer: number | undefined;
  fullRange: boolean | undefined;
  aspect?: { num: number; den: number };
  /** Whether a last column or row of pixels has half a chroma sample of its own: known of VP8, VP9 and AV1, whose sizes may be odd. */
  half?: { column: boolean; row: boolean };
}
