/** `cogwheel data label`: a person judges a sample of clips in a page, and is told which columns say the same, from which threshold on. */
import { join } from "node:path";
import { CogwheelError } from "../../base/errors.ts";
import { WORK_FOLDER } from "../../curation/curate-node.ts";
import { type ColumnVerdict, type Criterion, judgeColumns } from "../../curation/label/confusion.ts";
import { JudgedClips } from "../../curation/label/judged.ts";
import { drawSample } from "../../curation/label/sample.ts";
import { fileLedgerStore } from "../../curation/ledger/ledger-node.ts";
import { RunLock } from "../run-lock.ts";
import { interruptible, Interrupted } from "../terminal/interrupt.ts";
import { print, printJson } from "../terminal/output.ts";
import { table } from "../terminal/table.ts";
import { ClipPictures, readLabelClips } from "./dataset.ts";
import type { LabelResult } from "./protocol.ts";
import { serveLabels } from "./server.ts";

export interface LabelFlags {
  readonly sample: number;
  readonly seed: number;
  readonly port: number;
  readonly by: Criterion;
  readonly report?: boolean;
  readonly json?: boolean;
}

/** In the data set's work folder: a line for each judgement, only ever added to. */
const JUDGED_FILE = "judged.jsonl";

export async function label(dataset: string, { sample, seed, port, by, report, json }: LabelFlags): Promise<void> {
  if (!Number.isInteger(sample) || sample < 1)
    throw new CogwheelError("label", `--sample must be a whole number from 1, got ${sample}; 200 clips take half an hour`);
  const clips = await readLabelClips(dataset);
  const folder = join(dataset, WORK_FOLDER);
  const reading = report === true || json === true;
  // Whoever only reads disturbs nobody.
  await using _lock = reading ? undefined : await RunLock.take(join(folder, "label.lock"));
  const judged = await JudgedClips.open(fileLedgerStore(join(folder, JUDGED_FILE)));
  const result = (criterion: Criterion): LabelResult => {
    const judgements = judged.all();
    return { by: criterion, judged: judgements.length, columns: judgeColumns(clips, judgements, criterion) };
  };
  if (json) return printJson(result(by));
  if (report) return printResult(result(by));
  if (judged.broken) print(`${judged.broken} lines of ${JUDGED_FILE} cannot be read, and do not count`);
  using interruption = interruptible(() => {});
  await using server = await serveLabels({
    ...{ dataset, clips, sample: drawSample(clips, sample, seed), judged, port, result },
    pictures: new ClipPictures(dataset),
  });
  print(`${server.url}\nCtrl-C stops it; what you say is kept at once.`);
  const { signal } = interruption;
  await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
  if (!(signal.reason instanceof Interrupted)) throw signal.reason;
  printResult(result(by));
}

const share = (value: number): string => value.toFixed(2);

function printResult({ judged, columns, by }: LabelResult): void {
  print(`${judged.toLocaleString("en")} clips are judged; thresholds that are best by ${by === "f1" ? "F1" : "Youden's J"}:`);
  const heads = ["column", "tells", "yes", "no", "TP", "FP", "TN", "FN", "accuracy", "F1", "J", "keep by"];
  print(table(heads, columns.map(rowOf)));
}

function rowOf({ column, tells, yes, no, best }: ColumnVerdict): string[] {
  const told = [column, tells, String(yes), String(no)];
  if (!best) return [...told, ..."-------".split(""), "-"];
  const { counts, accuracy, f1, youden, filter } = best;
  return [...told, ...[counts.tp, counts.fp, counts.tn, counts.fn].map(String), share(accuracy), share(f1), share(youden), filter];
}
