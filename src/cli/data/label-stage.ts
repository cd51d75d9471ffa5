/** The label stage of `cogwheel data`: clips that other measures keep are judged by a vision model, and what it takes is told. */
import { visible } from "../../base/visible.ts";
import { batchModel } from "../../curation/caption/batch.ts";
import type { AskedEstimate } from "../../curation/caption/lanes.ts";
import { captionModel } from "../../curation/caption/run.ts";
import type { Curation } from "../../curation/curate-node.ts";
import type { ScoredClip } from "../../curation/results.ts";
import { BatchWriter, readAnswers } from "../../curation/endpoint/batch-node.ts";
import { Account, type Spent } from "../../curation/endpoint/spent.ts";
import { withLabels } from "../../curation/label/columns.ts";
import { LABEL_COLUMNS } from "../../curation/label/labels.ts";
import { type ClipLabelled, estimateLabels, LABEL_DEFAULTS, labelAll, type LabelWork } from "../../curation/label/label.ts";
import { defined } from "../../pipelines/options.ts";
import { readInput } from "../files.ts";
import { print } from "../terminal/output.ts";
import { captionedClip, type CaptionFlags, type WrittenBatch } from "./caption.ts";
import { batchText, count, estimateText, spentText } from "./caption-told.ts";
import { visionEndpoint } from "./endpoints.ts";
import type { LabelConfig } from "./label-keys.ts";

/** What came of it. */
export interface Labelled {
  /** All clips, those with labels that were asked for. */
  readonly clips: readonly ScoredClip[];
  readonly labels: ReadonlyMap<string, ClipLabelled>;
  readonly spent: Spent;
  readonly estimate?: AskedEstimate;
  readonly batch?: WrittenBatch;
}

export async function labelStage(
  curation: Curation,
  config: LabelConfig,
  clips: readonly ScoredClip[],
  { dryRun = false, batch }: CaptionFlags,
  warn: (message: string) => void,
): Promise<Labelled> {
  const { ledger, options } = curation;
  const chosen = config.all ? clips : curation.worthAsking(clips, LABEL_COLUMNS);
  const files = await curation.write(chosen);
  const asked = chosen.flatMap((one, i) => (files[i] ? [captionedClip(one, files[i])] : []));
  const account = new Account(defined({ maxCost: config.maxCost, maxRequests: config.maxRequests }));
  const unlabelled = (): Labelled => ({
    clips: clips.map((one) => withLabels(one, undefined)),
    labels: new Map(),
    spent: account.spent,
  });
  if (asked.length === 0) return unlabelled();
  const endpoint = visionEndpoint(config, account, warn);
  const writer = batch === undefined ? undefined : new BatchWriter(batch, "label");
  const found = batch === undefined ? undefined : await readAnswers(batch);
  await writer?.clear();
  const { frames, longest, quality, temperature, seed, instructions } = config;
  const work: LabelWork = {
    ledger,
    options: {
      ...LABEL_DEFAULTS,
      ...defined({ frames, temperature, seed }),
      ...(instructions === undefined ? {} : { instructions: await instructionsOf(instructions) }),
      picture: { ...LABEL_DEFAULTS.picture, ...defined({ longest, quality }) },
    },
    vision: writer
      ? batchModel(endpoint, found!.answers, writer.sink, account)
      : await captionModel(endpoint, ledger, options.signal, "label"),
    signal: options.signal,
    lanes: config.concurrency ?? 4,
    onProgress: (done, all) => options.onProgress?.("label", done / all, `${done} of ${all}`),
  };
  if (dryRun) return { ...unlabelled(), estimate: await estimateLabels(asked, account, work), spent: account.spent };
  const labels = await labelAll(asked, work);
  return {
    clips: clips.map((one) => withLabels(one, labels.get(one.clip.id))),
    labels,
    spent: account.spent,
    ...(writer ? { batch: { files: writer.files, requests: writer.count, broken: found!.broken } } : {}),
  };
}

const instructionsOf = async (file: string): Promise<string> =>
  new TextDecoder()
    .decode(await readInput(file, { limit: 2 ** 16 }))
    .replace(/^\uFEFF/, "")
    .trim();

const errorsOf = ({ labels }: Labelled): { id: string; error: string }[] =>
  [...labels].flatMap(([id, made]) => ("error" in made ? [{ id, error: made.error }] : []));

export function labelJson(labelled: Labelled): Record<string, unknown> {
  const failed = errorsOf(labelled);
  const { labels, spent, estimate, batch } = labelled;
  return { labelled: labels.size - failed.length, failed, spent, ...(estimate ? { estimate } : {}), ...(batch ? { batch } : {}) };
}

/** Clips without labels that are named. */
const NAMED = 5;

export function printLabelled(labelled: Labelled): void {
  const { labels, spent, estimate, batch } = labelled;
  if (estimate) {
    estimateText("Labels", estimate, spent);
    return;
  }
  const failed = errorsOf(labelled);
  print(`${count(labels.size - failed.length)} labelled; ${spentText(spent)}`);
  for (const { id, error } of failed.slice(0, NAMED)) print(`no labels: ${id}\n  ${visible(error)}`);
  if (failed.length > NAMED)
    print(`… and ${count(failed.length - NAMED)} more without labels; \`cogwheel data why\` tells the reason of each`);
  if (batch) batchText(batch);
}
