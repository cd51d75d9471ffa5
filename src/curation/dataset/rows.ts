/** A row of the data set: a line of `metadata.jsonl`, as Hugging Face's VideoFolder and this engine's trainers read it. */
import { LABEL_COLUMNS } from "../label/labels.ts";
import { type ClipScores, SCORE_NAMES } from "../measures/scores.ts";
import type { MediaFacts, Source, SourceClip } from "../types.ts";

/** Columns of a row, in the order in which they are written. */
export interface DatasetRow {
  /** From the data set's folder. */
  readonly file_name: string;
  /** One line; empty where nobody wrote one yet. */
  readonly caption: string;
  /** Of the clip's file. */
  readonly width: number;
  readonly height: number;
  readonly fps: number;
  readonly num_frames: number;
  readonly duration: number;
  readonly source: { readonly name: string; readonly sha256: string; readonly start: number; readonly end: number };
  /** Null where nobody could tell. */
  readonly scores: ClipScores & Readonly<Record<string, number | null>>;
  readonly [column: string]: unknown;
}

/** Columns that filters may ask for where text is measured. */
export const TEXT_COLUMNS: readonly string[] = ["text_area"];

/** Names of the columns that filters may ask for. */
export const COLUMN_NAMES: readonly string[] = [
  ...SCORE_NAMES,
  ...["id", "width", "height", "fps", "num_frames", "duration", "kind", "codec"],
  ...[...TEXT_COLUMNS, ...LABEL_COLUMNS],
  ...["source.name", "source.sha256", "source.start", "source.end", "duplicate_of"],
];

/** What filters ask for: a clip's columns before its file is made; scores stand under their own names too. */
export function columnsOf(
  clip: SourceClip,
  source: Source,
  facts: MediaFacts,
  scores: ClipScores,
  more: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  return {
    ...scores,
    id: clip.id,
    width: clip.width,
    height: clip.height,
    fps: clip.fps,
    num_frames: clip.frames,
    duration: durationOf(clip),
    kind: facts.kind,
    codec: facts.codec,
    source: sourceOf(clip, source),
    scores,
    ...more,
  };
}

export const sourceOf = ({ start, end }: SourceClip, { path, hash }: Source): DatasetRow["source"] => ({
  name: path,
  sha256: hash,
  start,
  end,
});

export const durationOf = ({ start, end }: SourceClip): number => Number((end - start).toFixed(6));
