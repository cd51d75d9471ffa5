/** The caption stage of `cogwheel data`: clips that stay are captioned, by endpoints or by batch files, and what it takes is told. */
import { readFile } from "node:fs/promises";
import { CogwheelError } from "../../base/errors.ts";
import { batchModel } from "../../curation/caption/batch.ts";
import type { CaptionClip, CaptionModel, ClipCaption } from "../../curation/caption/caption.ts";
import { CAPTION_DEFAULTS, type CaptionOptions } from "../../curation/caption/options.ts";
import type { AskedEstimate } from "../../curation/caption/lanes.ts";
import { captionAll, captionModel, estimateCaptions, type CaptionAllOptions } from "../../curation/caption/run.ts";
import type { Curation } from "../../curation/curate-node.ts";
import type { CaptionColumns, ScoredClip, WrittenClip } from "../../curation/results.ts";
import { durationOf } from "../../curation/dataset/rows.ts";
import { BatchWriter, readAnswers } from "../../curation/endpoint/batch-node.ts";
import { isInProcess } from "../../curation/endpoint/in-process.ts";
import type { EndpointOptions } from "../../curation/endpoint/options.ts";
import { Account, type Spent } from "../../curation/endpoint/spent.ts";
import { tokensBy } from "../../curation/rules/check.ts";
import { RULES, rulesWith, type Rules } from "../../curation/rules/rules.ts";
import { handCaptions, oneLine } from "../../curation/scan/captions-node.ts";
import { openSource } from "../../hub/open-node.ts";
import { defined } from "../../pipelines/options.ts";
import { T5Tokenizer } from "../../text/t5-tokenizer.ts";
import { readInput } from "../files.ts";
import type { CaptionConfig } from "./caption-keys.ts";
import { captionQueue, type CaptionQueue } from "./caption-queue.ts";
import { endpointsOf } from "./endpoints.ts";

/** What flags say beside the config. */
export interface CaptionFlags {
  readonly dryRun?: boolean;
  /** Folder of batch files. */
  readonly batch?: string;
  /** Address of a queue whose workers ask their own servers. */
  readonly queue?: string;
}

/** Files of requests that were written. */
export interface WrittenBatch {
  readonly files: readonly string[];
  readonly requests: number;
  /** Lines of answers that are none. */
  readonly broken: readonly string[];
}

/** What came of it. */
export interface Captioned {
  readonly captions: ReadonlyMap<string, ClipCaption>;
  readonly byHand: number;
  readonly spent: Spent;
  readonly estimate?: AskedEstimate;
  readonly batch?: WrittenBatch;
}

export async function captionStage(
  curation: Curation,
  config: CaptionConfig,
  kept: readonly ScoredClip[],
  written: readonly (WrittenClip | undefined)[],
  flags: CaptionFlags,
  warn: (message: string) => void,
): Promise<Captioned> {
  const { batch, queue: address } = flags;
  if (address === undefined) return await captioned(curation, config, kept, written, flags, warn);
  if (batch !== undefined)
    throw new CogwheelError("caption", "answers come over a queue or out of batch files, got --queue and --batch; leave one of them out");
  const { out, signal } = curation.options;
  await using queue = await captionQueue(address, config, out, { signal, warn });
  return await captioned(curation, queue.config, kept, written, flags, warn, queue);
}

async function captioned(
  curation: Curation,
  config: CaptionConfig,
  kept: readonly ScoredClip[],
  written: readonly (WrittenClip | undefined)[],
  { dryRun = false, batch }: CaptionFlags,
  warn: (message: string) => void,
  queue?: CaptionQueue,
): Promise<Captioned> {
  const { videos, signal } = curation.options;
  const hand = config.hand === "replace" ? new Map() : await handCaptions(videos, [...new Set(kept.map(({ of }) => of.source.path))]);
  const clips = kept.flatMap((one, i) => (written[i] && !hand.has(one.of.source.path) ? [captionedClip(one, written[i])] : []));
  const account = new Account(defined({ maxCost: config.maxCost, maxRequests: config.maxRequests }));
  const byHand = kept.length - clips.length;
  if (clips.length === 0) return { captions: new Map(), byHand, spent: account.spent };
  const named = endpointsOf(config, account, warn);
  const [vision, summariser] = [named.vision, named.summariser].map((one) => queue?.through(one) ?? one) as [
    EndpointOptions,
    EndpointOptions,
  ];
  const writers = batch === undefined ? undefined : { eyes: new BatchWriter(batch, "vision"), hands: new BatchWriter(batch, "summariser") };
  const found = batch === undefined ? undefined : await readAnswers(batch);
  await writers?.eyes.clear();
  await writers?.hands.clear();
  const { ledger } = curation;
  const eyes = writers ? batchModel(vision, found!.answers, writers.eyes.sink, account) : await captionModel(vision, ledger, signal);
  const hands = async (): Promise<CaptionModel> => {
    if (writers) return batchModel(summariser, found!.answers, writers.hands.sink, account);
    // A model of this process is loaded once.
    return isInProcess(vision.url) && summariser.url === vision.url ? eyes : await captionModel(summariser, ledger, signal);
  };
  const work: CaptionAllOptions = {
    ledger,
    options: optionsOf(config, await rulesOf(config)),
    vision: eyes,
    summariser: await hands(),
    count: await counter(config, warn),
    signal,
    lanes: config.concurrency ?? 4,
    ...defined({ equalCaptions: config.equalCaptions }),
    onProgress: (done, all) => curation.options.onProgress?.("caption", done / all, `${done} of ${all}`),
  };
  if (dryRun) return { captions: new Map(), byHand, estimate: await estimateCaptions(clips, account, work), spent: account.spent };
  const captions = await captionAll(clips, work);
  if (!writers) return { captions, byHand, spent: account.spent };
  const files = [...writers.eyes.files, ...writers.hands.files];
  return {
    captions,
    byHand,
    spent: account.spent,
    batch: { files, requests: writers.eyes.count + writers.hands.count, broken: found!.broken },
  };
}

/** A clip as models are asked about it. */
export const captionedClip = ({ clip, of }: ScoredClip, written: WrittenClip): CaptionClip => ({
  id: clip.id,
  source: of.source.hash,
  kind: of.facts.kind,
  duration: durationOf(clip),
  key: written.sha256,
  name: `${of.source.path}, ${clip.start} to ${clip.end} s`,
  read: async () => new Uint8Array(await readFile(written.file)),
});

function optionsOf({ path, every, frames, longest, quality, temperature, seed }: CaptionConfig, rules: Rules): CaptionOptions {
  const picture = { ...CAPTION_DEFAULTS.picture, ...defined({ longest, quality }) };
  return { ...CAPTION_DEFAULTS, ...defined({ path, every, frames, temperature, seed }), picture, rules };
}

/** A person's rules over the product's. */
export async function rulesOf({ rules: file }: Pick<CaptionConfig, "rules">): Promise<Rules> {
  if (file === undefined) return RULES;
  const text = new TextDecoder().decode(await readInput(file, { limit: 2 ** 20 }));
  try {
    return rulesWith(JSON.parse(text), file);
  } catch (error) {
    if (error instanceof CogwheelError) throw error;
    throw new CogwheelError("rules", `${file} must be JSON, got ${(error as Error).message}; correct it`);
  }
}

/** Counts tokens with the tokenizer of the checkpoint that is named. */
export async function counter({ tokenizer }: Pick<CaptionConfig, "tokenizer">, warn: (message: string) => void) {
  if (tokenizer === undefined) {
    warn("[caption] tokens are not counted: name the checkpoint that will be trained with --tokenizer, or in caption.tokenizer");
    return undefined;
  }
  await using source = await openSource(tokenizer);
  return tokensBy(await T5Tokenizer.open(source));
}

/** What the data set's row says of a caption; all rows have the same columns. */
export function columnsOfCaption(made: ClipCaption | undefined): CaptionColumns {
  const { caption, short, frames, violations, model, error } = made ?? {};
  return {
    ...(caption === undefined ? {} : { caption: oneLine(caption) }),
    short_caption: short ?? null,
    frame_captions: frames ?? null,
    caption_source: model ?? (made === undefined ? "hand" : null),
    caption_violations: violations ?? null,
    caption_error: error ?? null,
  };
}
