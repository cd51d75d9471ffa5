/**
 * Labels of clips by a vision model: one structured request a clip. The answer stands in the ledger under a key of the clip's content and
 * of what was asked, so that other instructions, frames or another model ask again, and nothing else does.
 */
import type { CaptionClip, CaptionModel } from "../caption/caption.ts";
import { framesOf } from "../caption/frames.ts";
import { type AskedEstimate, estimated, inLanes, type LaneOptions } from "../caption/lanes.ts";
import { mute, unread } from "../caption/unasked.ts";
import { framesAsParts } from "../caption/parts.ts";
import { type AskedValue, askedValue, costOfTries, recorded } from "../caption/record.ts";
import type { ChatRequest } from "../endpoint/message.ts";
import { EndpointError } from "../endpoint/faults.ts";
import type { PictureOptions } from "../endpoint/picture.ts";
import { jsonIn, mismatch } from "../endpoint/schema.ts";
import type { Account } from "../endpoint/spent.ts";
import { resultKey } from "../ledger/key.ts";
import type { Ledger } from "../ledger/ledger.ts";
import type { TextTry } from "../rules/ask.ts";
import { type ClipLabels, LABEL_INSTRUCTIONS, LABEL_SCHEMA, LABEL_VERSION, labelsOf } from "./labels.ts";

/** What decides the labels, beside the model. */
export interface LabelOptions {
  /** What the model is told. */
  readonly instructions: string;
  /** Frames of the request, spread over the clip. */
  readonly frames: number;
  readonly picture: PictureOptions;
  readonly temperature: number;
  readonly seed: number;
}

export const LABEL_DEFAULTS: LabelOptions = {
  instructions: LABEL_INSTRUCTIONS,
  frames: 6,
  picture: { longest: 512, quality: 85 },
  temperature: 0,
  seed: 0,
};

/** What stands in the ledger. */
export interface LabelValue extends ClipLabels, AskedValue {}

export interface LabelWork extends LaneOptions {
  readonly ledger: Ledger;
  readonly options: LabelOptions;
  readonly vision: CaptionModel;
}

/** A clip's labels, or why there are none. */
export type ClipLabelled = { readonly labels: ClipLabels; readonly model: string } | { readonly error: string };

const TRIES = 3;

export async function labelClip(clip: CaptionClip, { ledger, options, vision, signal }: LabelWork): Promise<ClipLabelled> {
  const { instructions, frames, picture, temperature, seed } = options;
  const params = { instructions, frames, picture, temperature, seed, model: vision.modelName };
  const key = resultKey("label", LABEL_VERSION, params, [clip.id]);
  const { value, error } = await recorded<LabelValue>(
    ledger,
    { stage: "label", key, of: clip.id },
    async () => {
      const most = clip.kind === "picture" ? 1 : frames;
      const rate = most / Math.max(clip.duration, 0.1);
      const shown = await framesOf(await clip.read(), { rate, most, longest: picture.longest ?? 512, name: clip.name, signal });
      const parts = [...(await framesAsParts(shown, picture, most > 1)), { text: "Judge the clip." }];
      const tries: TextTry[] = [];
      const answer = await asked(
        vision,
        { system: instructions, parts, schema: LABEL_SCHEMA, maxTokens: 512, temperature, seed },
        tries,
        signal,
      );
      return { value: { ...labelsOf(answer), ...askedValue(tries, vision.modelName, clip.source) }, cost: costOfTries(tries) };
    },
    signal,
  );
  return error ? { error: error.message } : { labels: labelsIn(value!), model: value!.model ?? value!.asked };
}

const labelsIn = ({ aesthetic, watermark, label }: LabelValue): ClipLabels => ({ aesthetic, watermark, label });

/** An answer that is of the schema. Another seed for each try, so that a server that keeps answers does not give the same one. */
async function asked(
  vision: CaptionModel,
  request: ChatRequest,
  tries: TextTry[],
  signal: AbortSignal | undefined,
): Promise<Readonly<Record<string, number>>> {
  let failure: unknown;
  for (let tried = 0; tried < TRIES; tried++) {
    const now = { ...request, seed: request.seed! + tried };
    try {
      const answer = await vision.chat(now, signal);
      // What comes out of a batch file was not looked at yet.
      const value = answer.value ?? jsonIn(answer.text);
      const wrong = value === undefined ? "the answer must hold a JSON object" : mismatch(value, request.schema!.schema);
      if (wrong) throw new EndpointError("request", `${wrong}, got ${JSON.stringify(answer.text.slice(0, 80))}`);
      tries.push({ request: now, answer, violations: [] });
      return value as Record<string, number>;
    } catch (error) {
      if (!(error instanceof EndpointError) || error.scope === "endpoint" || signal?.aborted) throw error;
      failure = error;
      tries.push({ request: now, violations: [], error: error.message });
    }
  }
  throw failure;
}

/** By the clips' ids; those whose answers a batch file will bring are left out. */
export const labelAll = (clips: readonly CaptionClip[], work: LabelWork): Promise<Map<string, ClipLabelled>> =>
  inLanes(clips, work.ledger, work, (clip, signal) => labelClip(clip, { ...work, signal }));

/** Labels some clips in earnest, which the run then has already, and tells what those that are left will take. */
export const estimateLabels = (clips: readonly CaptionClip[], account: Account, work: LabelWork): Promise<AskedEstimate> =>
  estimated(clips, work.ledger, { stage: "label", lanes: work.lanes }, account, (some, pending) => {
    if (!pending) return labelAll(some, work);
    return labelAll(unread(some), { ...work, vision: mute(work.vision), onProgress: () => {} });
  });
