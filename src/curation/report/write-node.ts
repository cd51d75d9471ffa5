/** Writes the report of a curation, where what it shows is not what it showed. */
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Curation } from "../curate-node.ts";
import type { CutSource, ScoredClip } from "../results.ts";
import { type CurvePicture, decodeCurves, decodePictures } from "../curves/columns.ts";
import type { Selection } from "../dataset/select.ts";
import { filterOf } from "../dataset/select.ts";
import { digest } from "../ledger/key.ts";
import { reportedPart } from "./histograms.ts";
import { reportOf } from "./page.ts";
import type { ReportedClip } from "./reported.ts";

export const REPORT_FILE = "report.html";
/** Rises when the same curation looks otherwise. */
const VERSION = 2;

/** What the report of a curation shows. */
export interface ReportInput {
  readonly sources: readonly CutSource[];
  readonly clips: readonly ScoredClip[];
  readonly selection: Selection;
  /** Of clips by id. */
  readonly captions: ReadonlyMap<string, string>;
}

/** Writes the report's page into the run's folder. @returns its path */
export async function writeCurationReport(curation: Curation, { sources, clips, selection, captions }: ReportInput): Promise<string> {
  const { out, videos, select } = curation.options;
  const path = join(out, REPORT_FILE);
  const shown = [
    VERSION,
    clips.map(({ clip, columns, more }, i) => [
      ...[clip.id, columns["duplicate_of"], selection.reasons[i], captions.get(clip.id)],
      ...[columns["text_area"], columns["aesthetic"], columns["watermark"], more],
    ]),
    sources.map(({ source, transitions }) => [source.path, transitions]),
    [curation.refused, [...curation.copies], select?.where],
  ];
  const key = digest(shown).slice(0, 32);
  if (curation.ledger.find(key) && (await stat(path).catch(() => undefined))) return path;
  const places = new Map(sources.map((source, i) => [source, i]));
  // What nobody could tell of any clip has no histogram, and no threshold that moves.
  const scores = Object.keys(clips[0] ? shownScores(clips[0]) : {}).filter((name) => clips.some((one) => shownScores(one)[name] !== null));
  const byFilm = new Map<CutSource, CurvePicture[]>();
  const reported: ReportedClip[] = [];
  for (const [i, one] of clips.entries()) {
    const { clip, of, columns } = one;
    if (!byFilm.has(of)) {
      // One film's pictures at a time: clips come film by film.
      byFilm.clear();
      byFilm.set(of, decodePictures(new Uint8Array(await readFile(of.curves)), of.curves));
    }
    reported.push({
      id: clip.id,
      name: of.source.path,
      start: clip.start,
      end: clip.end,
      film: places.get(of)!,
      reason: selection.reasons[i],
      duplicateOf: (columns["duplicate_of"] as string | null) ?? undefined,
      scores: shownScores(one),
      caption: captions.get(clip.id) ?? "",
      picture: nearest(byFilm.get(of)!, (clip.from + clip.to) / 2),
    });
  }
  const films = [];
  for (const { source, facts, frames, transitions, curves } of sources) {
    const of = decodeCurves(new Uint8Array(await readFile(curves)), curves);
    const times = transitions.map(({ at, from, to }) => [of.timeOf(at), of.timeOf(from), of.timeOf(to)] as const);
    films.push({ name: source.path, seconds: facts.kind === "picture" ? 0 : of.end, frames, transitions, times });
  }
  const seconds = films.reduce((sum, film) => sum + film.seconds, 0);
  const kept = clips.filter((_, i) => selection.reasons[i] === undefined);
  const page = reportOf({
    title: `Data of ${videos}`,
    facts: {
      files: `${sources.length}, ${minutes(seconds)}; ${curation.copies.size} others are copies, ${curation.refused.length} refused`,
      clips: `${kept.length} of ${clips.length} stay, ${minutes(kept.reduce((sum, { clip }) => sum + clip.end - clip.start, 0))}`,
      filter: select?.where ?? "none",
    },
    films,
    clips: reported,
    refused: curation.refused,
    dropped: selection.dropped,
    parts: (filterOf(select?.where)?.parts ?? []).map(({ text, takes }) =>
      reportedPart(text, scores, () => clips.map(({ columns }) => takes(columns))),
    ),
  });
  await curation.writeText(REPORT_FILE, page);
  curation.ledger.append({ stage: "report", key, of: "report", value: { clips: clips.length }, ms: 0 });
  return path;
}

/** Scores and labels, by the names that filters have for them. */
const shownScores = ({ scores, more }: ScoredClip): Record<string, number | null> => ({
  ...scores,
  ...Object.fromEntries(
    Object.entries((more?.["label"] as Record<string, number | null> | undefined) ?? {}).map(([name, value]) => [`label.${name}`, value]),
  ),
});

const minutes = (seconds: number): string => `${(seconds / 60).toFixed(1)} minutes`;

function nearest(pictures: readonly CurvePicture[], frame: number): Uint8Array | undefined {
  return pictures.reduce<CurvePicture | undefined>(
    (best, one) => (best && Math.abs(best.frame - frame) <= Math.abs(one.frame - frame) ? best : one),
    undefined,
  )?.jpeg;
}
