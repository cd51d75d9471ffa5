/** Captions of many clips: several at a time, an estimate from some of them, and a look at captions that agree too well. */
import { CogwheelError } from "../../base/errors.ts";
import { linkedAbort } from "../../base/linked-abort.ts";
import { Endpoint } from "../endpoint/endpoint.ts";
import type { EndpointOptions } from "../endpoint/options.ts";
import type { Account } from "../endpoint/spent.ts";
import { expectOwnCaptions } from "../export/equal.ts";
import { digest } from "../ledger/key.ts";
import { captionClip, type CaptionClip, type CaptionModel, type CaptionWork, type ClipCaption } from "./caption.ts";
import { AnswerPending } from "./pending.ts";
import type { CaptionValue } from "./record.ts";

/** An endpoint as captioning asks it. The server is not needed where the model is named and the ledger has every answer. */
export async function captionModel(options: EndpointOptions, ledger: CaptionWork["ledger"], signal?: AbortSignal): Promise<CaptionModel> {
  const endpoint = new Endpoint(options);
  const modelName = options.model ?? (await endpoint.look(signal)).model;
  for (const { stage, value } of ledger.results())
    if (stage.startsWith("caption.") && (value as CaptionValue | undefined)?.asked === modelName)
      endpoint.expectModel((value as CaptionValue).model);
  return { modelName, chat: (request, stop) => endpoint.chat(request, stop) };
}

export interface CaptionAllOptions extends CaptionWork {
  /** Clips at a time. */
  readonly lanes: number;
  /** Whether clips of several sources may have one caption. */
  readonly equalCaptions?: boolean;
  onProgress?(done: number, all: number): void;
}

/** Captions from which on it is looked whether they agree too well, so that no money is spent on the rest. */
const LOOK_EVERY = 20;

/**
 * By the clips' ids; those whose answers a batch file will bring are left out. Throws what is wrong with an endpoint, and where clips of
 * several sources share a caption: a server that gives one answer to all spoils a data set that nobody looks at.
 */
export async function captionAll(clips: readonly CaptionClip[], options: CaptionAllOptions): Promise<Map<string, ClipCaption>> {
  const { lanes, equalCaptions = false, ledger, onProgress } = options;
  const done = new Map<string, ClipCaption>();
  const sources = new Map(clips.map(({ id, source }) => [id, source]));
  const look = (): void => {
    if (equalCaptions) return;
    const captions = [...done].flatMap(([id, { caption }]) => (caption === undefined ? [] : [{ id, caption, source: sources.get(id)! }]));
    expectOwnCaptions(captions);
  };
  let next = 0;
  let failure: unknown;
  const lane = async (): Promise<void> => {
    while (next < clips.length && failure === undefined) {
      const clip = clips[next++]!;
      try {
        using own = linkedAbort(options.signal);
        done.set(clip.id, await captionClip(clip, { ...options, signal: own.signal }));
        if (done.size % LOOK_EVERY === 0) look();
      } catch (error) {
        if (!(error instanceof AnswerPending)) failure ??= error;
      }
      onProgress?.(done.size, clips.length);
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, Math.min(lanes, clips.length)) }, lane));
  await ledger.flush();
  if (failure !== undefined) throw failure;
  look();
  return done;
}

/** Clips that an estimate is made from. */
export const ESTIMATE_CLIPS = 20;

/** What all clips will take, from what some took. */
export interface CaptionEstimate {
  readonly clips: number;
  /** Clips of which the ledger had everything. */
  readonly measured: number;
  readonly requests: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly cost: number;
  readonly seconds: number;
}

/** Clips for an estimate: drawn by their ids, so that a second estimate asks nothing anew. */
export const estimateClips = (clips: readonly CaptionClip[]): CaptionClip[] =>
  clips.toSorted((a, b) => (digest(a.id) < digest(b.id) ? -1 : 1)).slice(0, ESTIMATE_CLIPS);

/** Asks for some clips' captions in earnest, which the run then has already, and tells what all of them will take. */
export async function estimateCaptions(
  clips: readonly CaptionClip[],
  account: Account,
  options: CaptionAllOptions,
): Promise<CaptionEstimate> {
  if (clips.length === 0) throw new CogwheelError("caption", "an estimate must have clips, got none; look at what was filtered out");
  const some = estimateClips(clips);
  const before = account.spent;
  const began = performance.now();
  await captionAll(some, options);
  const took = between(before, account.spent);
  const scale = clips.length / some.length;
  const taken = took.requests > 0 ? took : ledgerCost(some, options);
  return {
    clips: clips.length,
    measured: some.length,
    requests: Math.ceil(taken.requests * scale),
    inputTokens: Math.ceil(taken.inputTokens * scale),
    outputTokens: Math.ceil(taken.outputTokens * scale),
    cost: taken.cost * scale,
    seconds: ((performance.now() - began) / 1000) * scale,
  };
}

const between = (a: Account["spent"], b: Account["spent"]): Account["spent"] => ({
  requests: b.requests - a.requests,
  inputTokens: b.inputTokens - a.inputTokens,
  outputTokens: b.outputTokens - a.outputTokens,
  cost: b.cost - a.cost,
});

/** What the same clips took when they were asked for. */
function ledgerCost(clips: readonly CaptionClip[], { ledger }: CaptionWork): Account["spent"] {
  const costs = clips.flatMap(({ id }) => ledger.of(id).flatMap(({ stage, cost }) => (stage.startsWith("caption.") && cost ? [cost] : [])));
  const sum = (of: (cost: (typeof costs)[number]) => number | undefined): number => costs.reduce((total, one) => total + (of(one) ?? 0), 0);
  return {
    requests: sum(({ requests }) => requests),
    inputTokens: sum(({ tokensIn }) => tokensIn),
    outputTokens: sum(({ tokensOut }) => tokensOut),
    cost: sum(({ money }) => money),
  };
}
