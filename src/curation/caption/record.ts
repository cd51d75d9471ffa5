/** Results of captioning in the ledger: the text, the model, and every request and answer that led to it. */
import { CogwheelError } from "../../base/errors.ts";
import { EndpointError } from "../endpoint/faults.ts";
import type { ChatRequest } from "../endpoint/message.ts";
import { digest } from "../ledger/key.ts";
import type { Ledger } from "../ledger/ledger.ts";
import type { RuledText, TextTry } from "../rules/ask.ts";
import type { Violation } from "../rules/check.ts";
import type { StageCost, StageResult } from "../types.ts";
import { AnswerPending } from "./pending.ts";

/** A request as it is kept: pictures by their digest, for the clip has them. */
export interface KeptRequest extends Omit<ChatRequest, "parts"> {
  readonly parts: readonly ({ readonly text: string } | { readonly jpeg: string; readonly bytes: number })[];
}

/** One request and its answer. */
export interface KeptTry {
  readonly request: KeptRequest;
  readonly answer?: string;
  readonly violations?: readonly string[];
  readonly error?: string;
}

/** How an answer came about. */
export interface AskedValue {
  /** The model that was asked for. */
  readonly asked: string;
  /** The model that answered, as its server names it. */
  readonly model?: string;
  /** Hash of the clip's source: sets are split by it. */
  readonly source: string;
  readonly tries: readonly KeptTry[];
}

/** What a model said of a clip. */
export interface CaptionValue extends AskedValue {
  readonly text: string;
  /** Rules that it breaks after all tries, in words; left out where there are none. */
  readonly violations?: readonly string[];
}

const wordsOf = (violations: readonly Violation[]): string[] => violations.map(({ rule, told }) => `${rule}: ${told}`);

const keptRequest = ({ parts, ...rest }: ChatRequest): KeptRequest => ({
  ...rest,
  parts: parts.map((part) => ("text" in part ? part : { jpeg: digest([...part.jpeg]).slice(0, 16), bytes: part.jpeg.length })),
});

const keptTry = ({ request, answer, violations, error }: TextTry): KeptTry => ({
  request: keptRequest(request),
  ...(answer ? { answer: answer.text } : {}),
  ...(violations.length ? { violations: wordsOf(violations) } : {}),
  ...(error === undefined ? {} : { error }),
});

/** @param asked the model's name as it was asked for */
export function askedValue(tries: readonly TextTry[], asked: string, source: string): AskedValue {
  const model = tries.findLast(({ answer }) => answer?.model !== undefined)?.answer?.model;
  return { asked, ...(model === undefined ? {} : { model }), source, tries: tries.map(keptTry) };
}

/** @param asked the model's name as it was asked for */
export const captionValue = ({ text, violations, tries }: RuledText, asked: string, source: string): CaptionValue => ({
  text,
  ...(violations.length ? { violations: wordsOf(violations) } : {}),
  ...askedValue(tries, asked, source),
});

/** What the tries took. */
export function costOfTries(tries: readonly TextTry[]): StageCost {
  const sum = (of: (one: TextTry) => number | undefined): number => tries.reduce((total, one) => total + (of(one) ?? 0), 0);
  return {
    requests: tries.length,
    tokensIn: sum(({ answer }) => answer?.usage?.input),
    tokensOut: sum(({ answer }) => answer?.usage?.output),
    money: sum(({ answer }) => answer?.cost),
  };
}

/**
 * The ledger's result where it has one, else the work's, which is written down. What is wrong becomes a row that the next run tries again;
 * what is wrong with the endpoint, not with this request, is thrown too.
 */
export async function recorded<Value>(
  ledger: Ledger,
  { stage, key, of }: Pick<StageResult, "stage" | "key" | "of">,
  work: () => Promise<{ readonly value: Value; readonly cost: StageCost }>,
  signal: AbortSignal | undefined,
): Promise<StageResult<Value>> {
  const found = ledger.find<Value>(key);
  if (found) return found;
  signal?.throwIfAborted();
  const began = performance.now();
  const row = (rest: Pick<StageResult<Value>, "value" | "error" | "cost">): StageResult<Value> => {
    const result = { stage, key, of, ...rest, ms: Math.round(performance.now() - began) };
    ledger.append(result);
    return result;
  };
  try {
    return row(await work());
  } catch (error) {
    signal?.throwIfAborted();
    if (!(error instanceof CogwheelError) || error instanceof AnswerPending) throw error;
    const failed = row({ error: { message: error.message, ...(error instanceof EndpointError ? { retry: true as const } : {}) } });
    if (error instanceof EndpointError && error.scope === "endpoint") throw error;
    return failed;
  }
}
