/** Writes the report of a curation, where what it shows is not what it showed. */
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Curation } from "../curate-node.ts";
import type { CaptionColumns, CutSource, ScoredClip } from "../results.ts";
import { type CurvePicture, decodeCurves, decodePictures } from "../curves/columns.ts";
import type { Selection } from "../dataset/select.ts";
import { filterOf } from "../dataset/select.ts";
import { money } from "../endpoint/spent.ts";
import { digest } from "../ledger/key.ts";
import type { Ledger } from "../ledger/ledger.ts";
import { reportedPart } from "./histograms.ts";
import { MOST_CAPTIONS } from "./captions.ts";
import { reportOf } from "./page.ts";
import type { ReportedClip, ReportedWords } from "./reported.ts";

export const REPORT_FILE = "report.html";
/** Rises when the same curation looks otherwise. */
const VERSION = 3;

/** What the report of a curation shows. */
export interface ReportInput {
  readonly sources: readonly CutSource[];
  readonly clips: readonly ScoredClip[];
  readonly selection: Selection;
  /** Of clips by id. */
  readonly captions: ReadonlyMap<string, string>;
  /** What models said beside them, as rows have it. */
  readonly told?: ReadonlyMap<string, CaptionColumns>;
}

/** Writes the report's page into the run's folder. @returns its path */
export async function writeCurationReport(curation: Curation, { sources, clips, selection, captions, told }: ReportInput): Promise<string> {
  const { out, videos, select } = curation.options;
  const path = join(out, REPORT_FILE);
  const spent = spentOn(clips, curation.ledger);
  const shown = [
    VERSION,
    clips.map(({ clip, columns, more }, i) => [
      ...[clip.id, columns["duplicate_of"], selection.reasons[i], captions.get(clip.id)],
      ...[columns["text_area"], columns["aesthetic"], columns["watermark"], more],
    ]),
    sources.map(({ source, transitions }) => [source.path, transitions]),
    [curation.refused, [...curation.copies], select?.where],
    [spent, [...(told ?? [])]],
  ];
  const key = digest(shown).slice(0, 32);
  if (curation.ledger.find(key) && (await stat(path).catch(() => undefined))) return path;
  const places = new Map(sources.map((source, i) => [source, i]));
  // What nobody could tell of any clip has no histogram, and no threshold that moves.
  const scores = Object.keys(clips[0] ? shownScores(clips[0]) : {}).filter((name) => clips.some((one) => shownScores(one)[name] !== null));
  const byFilm = new Map<CutSource, CurvePicture[]>();
  const reported: ReportedClip[] = [];
  let shownWords = 0;
  for (const [i, one] of clips.entries()) {
    const { clip, of, columns } = one;
    if (!byFilm.has(of)) {
      // One film's pictures at a time: clips come film by film.
      byFilm.clear();
      byFilm.set(of, decodePictures(new Uint8Array(await readFile(of.curves)), of.curves));
    }
    const caption = captions.get(clip.id) ?? "";
    const pictures = within(byFilm.get(of)!, clip);
    // Frames of the captions that are shown; of thousands they would be a book.
    const words = selection.reasons[i] === undefined && caption !== "" && shownWords++ < MOST_CAPTIONS ? told?.get(clip.id) : undefined;
    reported.push({
      id: clip.id,
      name: of.source.path,
      start: clip.start,
      end: clip.end,
      film: places.get(of)!,
      reason: selection.reasons[i],
      duplicateOf: (columns["duplicate_of"] as string | null) ?? undefined,
      scores: shownScores(one),
      caption,
      told: words && wordsOf(words, (share) => nearest(pictures, clip.from + share * (clip.to - clip.from)), clip.end - clip.start),
      picture: nearest(pictures, (clip.from + clip.to) / 2),
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
      ...(spent === undefined ? {} : { models: spent }),
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

/** @param picture the nearest one to a share of the clip */
function wordsOf(columns: CaptionColumns, picture: (share: number) => Uint8Array | undefined, seconds: number): ReportedWords {
  const list = <T>(value: unknown): readonly T[] | undefined => (Array.isArray(value) ? (value as T[]) : undefined);
  const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);
  const frames = list<{ seconds: number; text: string }>(columns["frame_captions"]);
  const told = {
    short: text(columns["short_caption"]),
    model: text(columns["caption_source"]),
    violations: list<string>(columns["caption_violations"]),
    frames: frames?.map((frame) => ({ ...frame, picture: picture(Math.min(1, frame.seconds / Math.max(seconds, 1e-3))) })),
  };
  return Object.fromEntries(Object.entries(told).filter(([, value]) => value !== undefined));
}

/** What models were asked about these clips, in all runs, and what that cost; undefined where nobody asked. */
function spentOn(clips: readonly ScoredClip[], ledger: Ledger): string | undefined {
  const costs = clips.flatMap(({ clip }) => ledger.of(clip.id).flatMap(({ cost }) => (cost ? [cost] : [])));
  if (costs.length === 0) return undefined;
  const sum = (part: "requests" | "tokensIn" | "tokensOut" | "money"): number => costs.reduce((total, one) => total + (one[part] ?? 0), 0);
  const [requests, into, out, paid] = (["requests", "tokensIn", "tokensOut", "money"] as const).map(sum) as [
    number,
    number,
    number,
    number,
  ];
  const n = (value: number): string => value.toLocaleString("en");
  return `${n(requests)} requests, ${n(into)} tokens in, ${n(out)} out${paid ? `, cost ${money(paid)}` : ""}`;
}

const minutes = (seconds: number): string => `${(seconds / 60).toFixed(1)} minutes`;

/** Pictures of the clip itself; of one so short that it has none, all of its film's. */
function within(pictures: readonly CurvePicture[], { from, to }: ScoredClip["clip"]): readonly CurvePicture[] {
  const own = pictures.filter(({ frame }) => frame >= from && frame < to);
  return own.length ? own : pictures;
}

function nearest(pictures: readonly CurvePicture[], frame: number): Uint8Array | undefined {
  return pictures.reduce<CurvePicture | undefined>(
    (best, one) => (best && Math.abs(best.frame - frame) <= Math.abs(one.frame - frame) ? best : one),
    undefined,
  )?.jpeg;
}
