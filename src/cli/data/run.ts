/** `cogwheel data run`, and its stages one by one: each does those before it, of which the ledger has most. */
import { CogwheelError } from "../../base/errors.ts";
import type { Curation } from "../../curation/curate-node.ts";
import type { CutSource, ScoredClip, ScannedSource } from "../../curation/results.ts";
import { asksFor, filterOf, type Selection } from "../../curation/dataset/select.ts";
import { LABEL_COLUMNS } from "../../curation/label/labels.ts";
import { TEXT_COLUMNS } from "../../curation/dataset/rows.ts";
import type { MeasureConfig } from "./keys.ts";
import { textStage } from "./text-stage.ts";
import { writeCurationReport } from "../../curation/report/write-node.ts";
import type { CaptionConfig } from "./caption-keys.ts";
import { captionJson, printCaptioned } from "./caption-told.ts";
import type { LabelConfig } from "./label-keys.ts";
import { type Labelled, labelJson, labelStage, printLabelled } from "./label-stage.ts";
import { type Captioned, type CaptionFlags, captionStage, columnsOfCaption } from "./caption.ts";
import { captionsThere, idOf } from "./captions-there.ts";
import { visible } from "../../base/visible.ts";
import { printFound } from "./found-told.ts";
import { print, printJson, printPath } from "../terminal/output.ts";
import { table } from "../terminal/table.ts";
import { type DataConfig, type DataFlags, readDataConfig } from "./config.ts";
import { SOME_FAILED, withCuration } from "./session.ts";

export type DataStage = "scan" | "cut" | "measure" | "filter" | "caption" | "report" | "run";

interface Done {
  readonly sources: readonly ScannedSource[];
  readonly cut?: readonly CutSource[];
  readonly clips?: readonly ScoredClip[];
  readonly labelled?: Labelled;
  readonly selection?: Selection;
  /** Rows of the data set. */
  readonly rows?: number;
  readonly uncaptioned?: number;
  readonly captioned?: Captioned;
  /** Path of the report. */
  readonly report?: string;
}

export async function runStages(stage: DataStage, from: string, flags: DataFlags & CaptionFlags): Promise<number> {
  const config = await readDataConfig(from, flags);
  return await withCuration(config, async (curation, note) => {
    const done = await upTo(stage, curation, config.stages, flags, note);
    if (flags.json) printJson(summaryOf(done, curation));
    else printDone(done, curation, { out: config.out, stage });
    const asked = [...(done.captioned?.captions.values() ?? []), ...(done.labelled?.labels.values() ?? [])];
    const unanswered = [done.captioned, done.labelled].some((one) => one?.estimate?.failed.length);
    const failed = unanswered || asked.some((one) => "error" in one && one.error !== undefined);
    return curation.refused.length || failed ? SOME_FAILED : 0;
  });
}

async function upTo(
  stage: DataStage,
  curation: Curation,
  stages: DataConfig["stages"],
  flags: DataFlags & CaptionFlags,
  note: (message: string) => void,
): Promise<Done> {
  const label: LabelConfig = stages["label"] ?? {};
  const caption: CaptionConfig = stages["caption"] ?? {};
  const measure: MeasureConfig = stages["measure"] ?? {};
  if (!["scan", "cut", "measure"].includes(stage)) expectAsked(curation, label, measure);
  const sources = await curation.scan();
  if (stage === "scan") return { sources };
  const cut = await curation.cut(sources);
  if (stage === "cut") return { sources, cut };
  const plain = await curation.measure(cut);
  if (stage === "measure") return { sources, cut, clips: plain };
  const measured = measure.text ? await textStage(curation, measure, plain) : plain;
  const labelled = label.url === undefined ? undefined : await labelStage(curation, label, measured, flags, note);
  const clips = labelled?.clips ?? measured;
  const found = { sources, cut, clips, ...(labelled ? { labelled } : {}) };
  // Which clips stay is not known before all labels are there.
  if (labelled?.batch?.requests) return found;
  const captions = stage === "caption" || caption.url !== undefined || flags.queue !== undefined;
  if (labelled?.estimate) {
    if (!captions || stage === "filter" || stage === "report") return found;
    const all = curation.worthAsking(clips, LABEL_COLUMNS);
    return { ...found, captioned: await captionStage(curation, caption, all, await curation.write(all), flags, note) };
  }
  const selection = curation.select(clips);
  await curation.keepColumns(clips, selection);
  if (stage === "filter") return { ...found, selection };
  if (stage === "report") {
    const there = await captionsThere(curation.options.out);
    return { ...found, selection, report: await writeCurationReport(curation, { sources: cut, clips, selection, ...there }) };
  }
  const kept = clips.filter((_, i) => selection.reasons[i] === undefined);
  const written = await curation.write(kept);
  const captioned = captions ? await captionStage(curation, leftOver(caption, flags, labelled), kept, written, flags, note) : undefined;
  if (captioned?.estimate) return { ...found, selection, captioned };
  const columns = captioned && (({ clip }: ScoredClip) => columnsOfCaption(captioned.captions.get(clip.id)));
  const rows = await curation.export(kept, written, columns);
  const uncaptioned = rows.filter((row) => row.caption === "").length;
  const texts = new Map(rows.map(({ file_name: name, caption: text }) => [idOf(name), text]));
  const told = captioned && new Map(kept.map((one) => [one.clip.id, columnsOfCaption(captioned.captions.get(one.clip.id))]));
  const report = await writeCurationReport(curation, { sources: cut, clips, selection, captions: texts, ...(told ? { told } : {}) });
  return { ...found, selection, rows: rows.length, uncaptioned, report, ...(captioned ? { captioned } : {}) };
}

/** Throws where the filter asks for labels or text areas and nobody gives any. */
function expectAsked({ options: { select } }: Curation, { url }: LabelConfig, { text }: MeasureConfig): void {
  const filter = filterOf(select?.where);
  if (filter && !text && asksFor(filter, TEXT_COLUMNS))
    throw new CogwheelError(
      "data",
      `a filter by text_area must have a detector that measures it, got ${filter.text} without measure.text; ` +
        "say --text, or so in the config",
    );
  if (filter && url === undefined && asksFor(filter, LABEL_COLUMNS))
    throw new CogwheelError(
      "data",
      `a filter by labels must have a model that gives them, got ${filter.text} without label.url; ` +
        "name one with --label-url, or in the config",
    );
}

/** What captions may spend of what the command line allows both. */
function leftOver(caption: CaptionConfig, { maxCost, maxRequests }: DataFlags, labelled: Labelled | undefined): CaptionConfig {
  if (!labelled) return caption;
  const { cost, requests } = labelled.spent;
  return {
    ...caption,
    ...(maxCost === undefined ? {} : { maxCost: Math.max(0, maxCost - cost) }),
    ...(maxRequests === undefined ? {} : { maxRequests: Math.max(0, maxRequests - requests) }),
  };
}

function summaryOf(
  { sources, cut, clips, labelled, selection, rows, uncaptioned, captioned, report }: Done,
  curation: Curation,
): Record<string, unknown> {
  return {
    sources: sources.map(({ source, facts }) => ({ ...source, ...facts })),
    copies: Object.fromEntries(curation.copies),
    refused: curation.refused,
    ...(cut ? { cuts: cut.map(cutsOf) } : {}),
    ...(clips ? { clips: clips.map(({ columns }) => columns) } : {}),
    ...(labelled ? { label: labelJson(labelled) } : {}),
    ...(selection ? { kept: selection.kept, dropped: selection.dropped } : {}),
    ...(rows === undefined ? {} : { rows, uncaptioned }),
    ...(report === undefined ? {} : { report }),
    ...(captioned ? { caption: captionJson(captioned) } : {}),
  };
}

/** Its changes of shot, and why it gives no clip, where it gives none. */
const cutsOf = ({ source, transitions, none }: CutSource): { file: string; cuts: number[]; none?: string } => ({
  file: source.path,
  cuts: transitions.map(({ at }) => at),
  ...(none === undefined ? {} : { none }),
});

function printDone(
  { sources, cut, clips, labelled, selection, rows, uncaptioned, captioned, report }: Done,
  curation: Curation,
  { out, stage }: { readonly out: string; readonly stage: DataStage },
): void {
  const seconds = sources.reduce((sum, { facts }) => sum + facts.duration, 0);
  print(
    `${count(sources.length, "source")}, ${(seconds / 60).toFixed(1)} minutes; ${count(curation.copies.size, "copy", "copies")} of them`,
  );
  for (const { path, message } of curation.refused) print(`refused: ${visible(path)}\n  ${visible(message)}`);
  printFound(stage, sources, cut, clips);
  if (cut) {
    const changes = cut.reduce((sum, { transitions }) => sum + transitions.length, 0);
    print(
      `${count(changes, "change")} of shot, ${count(
        cut.reduce((sum, one) => sum + one.clips.length, 0),
        "clip",
      )}`,
    );
    const none = cut.filter((one) => one.none !== undefined);
    for (const one of none.slice(0, NAMED)) print(`no clip: ${visible(one.source.path)}\n  ${one.none}`);
    if (none.length > NAMED) print(`… and ${count(none.length - NAMED, "source")} more without a clip; --json names them`);
  }
  if (labelled) printLabelled(labelled);
  if (clips && selection) {
    const lines = Object.entries(selection.dropped).map(([reason, n]) => [reason, String(n)]);
    print(table(["dropped by", "clips"], [...lines, ["(stay)", String(selection.kept)]]));
  }
  if (captioned) printCaptioned(captioned);
  if (rows !== undefined) {
    print(`${count(rows, "clip")} in the data set${uncaptioned ? `, ${uncaptioned} of them without a caption` : ""}`);
    printPath(out);
  }
  if (report !== undefined) printPath(report);
}

/** Sources without clips that are named. */
const NAMED = 20;

const count = (n: number, one: string, many = `${one}s`): string => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
