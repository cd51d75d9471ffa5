/**
 * A clip's caption by the paper's steps: a short one of the whole; frames, one every two seconds, densely; and one out of all of these by
 * a language model. Or in one request, from 24 frames. Each answer stands in the ledger under a key of what it follows from: another
 * instruction for the last step asks for the last step alone.
 */
import type { Endpoint } from "../endpoint/endpoint.ts";
import type { ChatRequest } from "../endpoint/message.ts";
import { resultKey } from "../ledger/key.ts";
import type { Ledger } from "../ledger/ledger.ts";
import { askByRules } from "../rules/ask.ts";
import type { TokenCount } from "../rules/check.ts";
import type { TextRules } from "../rules/rules.ts";
import type { StageResult } from "../types.ts";
import { framesOf, secondsText, spread, type TimedFrame } from "./frames.ts";
import type { CaptionOptions } from "./options.ts";
import { framesAsParts } from "./parts.ts";
import { captionValue, costOfTries, recorded, type CaptionValue } from "./record.ts";

/** A clip to be captioned. */
export interface CaptionClip {
  readonly id: string;
  /** Hash of its source. */
  readonly source: string;
  readonly kind: "film" | "picture";
  readonly duration: number;
  /** What decides its pictures: the key of the result that made its file. */
  readonly key: string;
  /** What messages call it. */
  readonly name: string;
  /** Its file; read only where something must be asked. */
  read(): Promise<Uint8Array>;
}

/** A model that answers: an {@link Endpoint}, or what stands in its place where files are written for a batch. */
export type CaptionModel = Pick<Endpoint, "chat"> & { readonly modelName: string };

/** What captioning goes by. */
export interface CaptionWork {
  readonly ledger: Ledger;
  readonly options: CaptionOptions;
  readonly vision: CaptionModel;
  readonly summariser: CaptionModel;
  /** Counts tokens as the model that will be trained reads them. */
  readonly count?: TokenCount | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A clip's caption with what it was made from, or why there is none. */
export interface ClipCaption {
  readonly caption?: string;
  readonly short?: string;
  readonly frames?: readonly { readonly seconds: number; readonly text: string }[];
  /** Rules that the caption breaks all the same. */
  readonly violations?: readonly string[];
  /** The model that wrote it, as its server names it. */
  readonly model?: string;
  readonly error?: string;
}

/** Rises when the same parameters give another request. */
const VERSION = 1;
/** Frames of the request for a short caption. */
const SHORT_FRAMES = 4;
/** Descriptions of frames and short captions are only read by a model: what spoils a caption is put right there. */
const LOOSE: Pick<TextRules, "openers" | "phrases"> = { openers: [], phrases: [] };

export async function captionClip(clip: CaptionClip, work: CaptionWork): Promise<ClipCaption> {
  const { options } = work;
  if (clip.kind === "picture") return await inOne(clip, work, "picture", 1);
  if (options.path === "clip") return await inOne(clip, work, "clip", options.frames);
  // Read once, at twice the rate of the frames that are described, so that the short caption sees how things move.
  const film = once(async () => {
    const { every, picture } = options;
    const reading = { rate: 2 / every, longest: picture.longest ?? 768, name: clip.name, signal: work.signal };
    return await framesOf(await clip.read(), reading);
  });
  const described = dense(clip.duration, options.every);
  // All of them are over before the clip is: what one fails with does not leave others under way.
  const all = await Promise.allSettled([
    shortCaption(clip, work, film),
    ...described.map((seconds) => frameCaption(clip, work, film, seconds)),
  ]);
  const [short, ...frames] = all.map((one) => {
    if (one.status === "rejected") throw one.reason;
    return one.value;
  }) as [Result, ...Result[]];
  const failed = [short, ...frames].find(({ error }) => error);
  if (failed) return { error: failed.error!.message };
  const told = described.map((seconds, i) => ({ seconds, text: frames[i]!.value!.text }));
  const merged = await mergedCaption(clip, work, short, frames, told);
  if (merged.error) return { error: merged.error.message };
  return { ...captionOf(merged.value!), short: short.value!.text, frames: told };
}

/** Seconds of the frames that are described. */
const dense = (duration: number, every: number): number[] =>
  Array.from({ length: Math.max(1, Math.min(32, Math.ceil(duration / every - 1e-6))) }, (_, i) => i * every);

const captionOf = ({ text, violations, model }: CaptionValue): ClipCaption => ({
  caption: text,
  ...(violations ? { violations } : {}),
  ...(model === undefined ? {} : { model }),
});

type Result = StageResult<CaptionValue>;

/** Asks, unless the ledger has the answer. @param params everything beside the clip that decides it */
async function asked(
  clip: CaptionClip,
  { ledger, options, count, signal }: CaptionWork,
  step: {
    stage: string;
    model: CaptionModel;
    params: object;
    parents: readonly string[];
    rules: TextRules;
    request: () => Promise<ChatRequest>;
  },
): Promise<Result> {
  const { stage, model, params, parents, rules, request } = step;
  const { temperature, seed } = options;
  const keyOf = (more: object): string =>
    resultKey(stage, VERSION, { ...params, ...more, model: model.modelName, temperature, seed, rules }, parents);
  // What was answered when nobody counted tokens stands, unless it is too long.
  const kept = count && ledger.find<CaptionValue>(keyOf({}))?.value;
  const key = keyOf(kept && !kept.violations && count(kept.text) > rules.maxTokens ? { counted: true } : {});
  const ask = async () => {
    const made = { ...(await request()), temperature, seed };
    const ruled = await askByRules(model, made, { rules, count, signal });
    return { value: captionValue(ruled, model.modelName, clip.source), cost: costOfTries(ruled.tries) };
  };
  return await recorded(ledger, { stage, key, of: clip.id }, ask, signal);
}

/** All frames in one request. */
async function inOne(clip: CaptionClip, work: CaptionWork, kind: "clip" | "picture", most: number): Promise<ClipCaption> {
  const { options, vision } = work;
  const { rules, picture } = options;
  const system = rules.instructions[kind];
  const { value, error } = await asked(clip, work, {
    stage: "caption.clip",
    model: vision,
    params: { system, picture, most },
    parents: [clip.key],
    rules: rules.caption,
    request: async () => {
      const rate = most / Math.max(clip.duration, 0.1);
      const frames = await framesOf(await clip.read(), {
        rate,
        most,
        longest: picture.longest ?? 768,
        name: clip.name,
        signal: work.signal,
      });
      const parts = await framesAsParts(frames, picture, kind === "clip");
      return { system, parts: [...parts, { text: kind === "clip" ? "Describe the clip." : "Describe the picture." }], maxTokens: 1024 };
    },
  });
  return error ? { error: error.message } : captionOf(value!);
}

async function shortCaption(clip: CaptionClip, work: CaptionWork, film: () => Promise<TimedFrame[]>): Promise<Result> {
  const { rules, picture, every } = work.options;
  const system = rules.instructions.short;
  return await asked(clip, work, {
    stage: "caption.short",
    model: work.vision,
    params: { system, picture, every },
    parents: [clip.key],
    rules: { ...rules.caption, ...LOOSE, maxWords: 40 },
    request: async () => ({
      system,
      parts: [...(await framesAsParts(spread(await film(), SHORT_FRAMES), picture, true)), { text: "What happens?" }],
      maxTokens: 256,
    }),
  });
}

async function frameCaption(clip: CaptionClip, work: CaptionWork, film: () => Promise<TimedFrame[]>, seconds: number): Promise<Result> {
  const { rules, picture } = work.options;
  const system = rules.instructions.frame;
  return await asked(clip, work, {
    stage: "caption.frame",
    model: work.vision,
    params: { system, picture, seconds },
    parents: [clip.key],
    rules: { ...LOOSE, maxWords: 200, maxTokens: 512 },
    request: async () => {
      const all = await film();
      const nearest = all.reduce((a, b) => (Math.abs(b.seconds - seconds) < Math.abs(a.seconds - seconds) ? b : a));
      return { system, parts: [...(await framesAsParts([nearest], picture, false)), { text: "Describe the picture." }], maxTokens: 512 };
    },
  });
}

async function mergedCaption(
  clip: CaptionClip,
  work: CaptionWork,
  short: Result,
  frames: readonly Result[],
  told: readonly { seconds: number; text: string }[],
): Promise<Result> {
  const { rules } = work.options;
  const system = rules.instructions.merge;
  return await asked(clip, work, {
    stage: "caption.merge",
    model: work.summariser,
    params: { system },
    parents: [short.key, ...frames.map(({ key }) => key)],
    rules: rules.caption,
    request: () => Promise.resolve({ system, parts: [{ text: mergeInput(short.value!.text, told) }], maxTokens: 512 }),
  });
}

/** What the summariser reads, the distilled one too: a dictionary from seconds to descriptions, as the paper has it. */
export const mergeInput = (short: string, frames: readonly { readonly seconds: number; readonly text: string }[]): string =>
  `Short caption: ${short}\n\nFrames by second:\n${JSON.stringify(
    Object.fromEntries(frames.map(({ seconds, text }) => [`${secondsText(seconds)} s`, text])),
    null,
    1,
  )}`;

/** The work, done when it is first asked for and not again. */
function once<T>(work: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= work());
}
