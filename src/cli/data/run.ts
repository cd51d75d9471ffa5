/** `cogwheel data run`, and its stages one by one: each does those before it, of which the ledger has most. */
import type { Curation, CutSource, ScoredClip, ScannedSource } from "../../curation/curate-node.ts";
import type { Selection } from "../../curation/dataset/select.ts";
import { writeCurationReport } from "../../curation/report/write-node.ts";
import type { CaptionConfig } from "./caption-keys.ts";
import { captionJson, printCaptioned } from "./caption-told.ts";
import { type Captioned, type CaptionFlags, captionStage, columnsOfCaption } from "./caption.ts";
import { print, printJson, printPath } from "../terminal/output.ts";
import { table } from "../terminal/table.ts";
import { type DataFlags, readDataConfig } from "./config.ts";
import { SOME_FAILED, withCuration } from "./session.ts";

export type DataStage = "scan" | "cut" | "measure" | "filter" | "caption" | "run";

interface Done {
  readonly sources: readonly ScannedSource[];
  readonly cut?: readonly CutSource[];
  readonly clips?: readonly ScoredClip[];
  readonly selection?: Selection;
  /** Rows of the data set. */
  readonly rows?: number;
  readonly uncaptioned?: number;
  readonly captioned?: Captioned;
  /** Path of the report. */
  readonly report?: string;
}

/** `videos/ID.mp4` */
const idOf = (name: string): string => name.slice(name.lastIndexOf("/") + 1, name.lastIndexOf("."));

export async function runStages(stage: DataStage, from: string, flags: DataFlags & CaptionFlags): Promise<number> {
  const config = await readDataConfig(from, flags);
  return await withCuration(config, async (curation, note) => {
    const done = await upTo(stage, curation, (config.stages["caption"] ?? {}) as CaptionConfig, flags, note);
    if (flags.json) printJson(summaryOf(done, curation));
    else printDone(done, curation, config.out);
    const failed = [...(done.captioned?.captions.values() ?? [])].some(({ error }) => error !== undefined);
    return curation.refused.length || failed ? SOME_FAILED : 0;
  });
}

async function upTo(
  stage: DataStage,
  curation: Curation,
  caption: CaptionConfig,
  flags: CaptionFlags,
  note: (message: string) => void,
): Promise<Done> {
  const sources = await curation.scan();
  if (stage === "scan") return { sources };
  const cut = await curation.cut(sources);
  if (stage === "cut") return { sources, cut };
  const clips = await curation.measure(cut);
  if (stage === "measure") return { sources, cut, clips };
  const selection = curation.select(clips);
  if (stage === "filter") return { sources, cut, clips, selection };
  const kept = clips.filter((_, i) => selection.reasons[i] === undefined);
  const written = await curation.write(kept);
  const captioned =
    stage === "caption" || caption.url !== undefined ? await captionStage(curation, caption, kept, written, flags, note) : undefined;
  if (captioned?.estimate) return { sources, cut, clips, selection, captioned };
  const columns = captioned && (({ clip }: ScoredClip) => columnsOfCaption(captioned.captions.get(clip.id)));
  const rows = await curation.export(kept, written, columns);
  const uncaptioned = rows.filter((row) => row.caption === "").length;
  const captions = new Map(rows.map(({ file_name: name, caption: text }) => [idOf(name), text]));
  const report = await writeCurationReport(curation, { sources: cut, clips, selection, captions });
  return { sources, cut, clips, selection, rows: rows.length, uncaptioned, report, ...(captioned ? { captioned } : {}) };
}

function summaryOf({ sources, cut, clips, selection, rows, uncaptioned, captioned }: Done, curation: Curation): Record<string, unknown> {
  return {
    sources: sources.map(({ source, facts }) => ({ ...source, ...facts })),
    copies: Object.fromEntries(curation.copies),
    refused: curation.refused,
    ...(cut ? { cuts: cut.map(({ source, transitions }) => ({ file: source.path, cuts: transitions.map(({ at }) => at) })) } : {}),
    ...(clips ? { clips: clips.map(({ columns }) => columns) } : {}),
    ...(selection ? { kept: selection.kept, dropped: selection.dropped } : {}),
    ...(rows === undefined ? {} : { rows, uncaptioned }),
    ...(captioned ? { caption: captionJson(captioned) } : {}),
  };
}

function printDone({ sources, cut, clips, selection, rows, uncaptioned, captioned, report }: Done, curation: Curation, out: string): void {
  const seconds = sources.reduce((sum, { facts }) => sum + facts.duration, 0);
  print(
    `${count(sources.length, "source")}, ${(seconds / 60).toFixed(1)} minutes; ${count(curation.copies.size, "copy", "copies")} of them`,
  );
  for (const { path, message } of curation.refused) print(`refused: ${path}\n  ${message}`);
  if (cut) {
    const changes = cut.reduce((sum, { transitions }) => sum + transitions.length, 0);
    print(
      `${count(changes, "change")} of shot, ${count(
        cut.reduce((sum, one) => sum + one.clips.length, 0),
        "clip",
      )}`,
    );
  }
  if (clips && selection) {
    const lines = Object.entries(selection.dropped).map(([reason, n]) => [reason, String(n)]);
    print(table(["dropped by", "clips"], [...lines, ["(stay)", String(selection.kept)]]));
  }
  if (captioned) printCaptioned(captioned);
  if (rows !== undefined) {
    print(`${count(rows, "clip")} in the data set${uncaptioned ? `, ${uncaptioned} of them without a caption` : ""}`);
    printPath(out);
    if (report !== undefined) printPath(report);
  }
}

const count = (n: number, one: string, many = `${one}s`): string => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
