/**
 * A short prompt becomes one of the kind that the model was trained on: a language model rewrites it by the rules of captions; for image
 * to video one that sees looks at the first frame. What cannot be had (no server, no text that keeps the rules) leaves the prompt as it
 * is, with a warning: nobody's video fails for it.
 */
import { CogwheelError } from "../../base/errors.ts";
import type { CheckpointSource } from "../../sources/source.ts";
import { T5Tokenizer } from "../../text/t5-tokenizer.ts";
import type { Frame } from "../../video/frame.ts";
import { Endpoint } from "../endpoint/endpoint.ts";
import { EndpointError } from "../endpoint/faults.ts";
import type { ChatPart, ChatRequest } from "../endpoint/message.ts";
import type { EndpointOptions } from "../endpoint/options.ts";
import { pictureOf } from "../endpoint/picture.ts";
import { digest } from "../ledger/key.ts";
import { askByRules } from "../rules/ask.ts";
import { tokensBy } from "../rules/check.ts";
import { type Rules, rulesWith, type TextRules } from "../rules/rules.ts";
import { findEnhanced, keepEnhanced } from "./kept.ts";

/** Options of {@link enhance}. */
export interface EnhanceOptions extends EndpointOptions {
  /** Whose tokenizer counts: the checkpoint that the prompt is for (`model.checkpoint.source`). Default: tokens are not counted. */
  checkpoint?: CheckpointSource;
  /** Tokens that the model reads. Default 226. */
  maxTokens?: number;
  /** The first frame, for image to video. */
  image?: Frame;
  /** Rules in place of the product's own; see docs/captions.md. */
  rules?: unknown;
  /** Passed to the server, so that it answers the same again where it can. Default 0. */
  seed?: number;
  /** Whether an answer is taken that was kept, and kept for the next time. Default true. */
  cache?: boolean;
  signal?: AbortSignal;
}

/** A prompt, and where it came from. */
export interface EnhancedPrompt {
  /** What to generate with: the new text, or the prompt itself where there is none. */
  readonly prompt: string;
  /** What was given. */
  readonly from: string;
  /** Whether it was rewritten. */
  readonly enhanced: boolean;
  /** Whether it was kept from an earlier call. */
  readonly cached: boolean;
  /** The model that wrote it, as its server names it. */
  readonly model?: string;
  /** Digest of the rules that it was written by. */
  readonly rules: string;
  readonly seed: number;
  /** Why it was not rewritten. */
  readonly reason?: string;
}

/** As the authors' script asks: hardly any chance, little room. */
const SAMPLING = { temperature: 0.01, maxTokens: 400 };

/** Rewrites a prompt. Throws for options that cannot be and for the signal; else gives the prompt itself, with `reason`. */
export async function enhance(prompt: string, options: EnhanceOptions): Promise<EnhancedPrompt> {
  const { checkpoint, maxTokens, image, seed = 0, cache = true, signal, rules: own, ...endpointOptions } = options;
  if (typeof prompt !== "string" || (prompt.trim() === "" && !image))
    throw new CogwheelError("enhance", "a prompt must say what to show, got nothing; write some words");
  const rules = rulesWith(own);
  const limits = limitsFor(rules.prompt, maxTokens);
  const endpoint = new Endpoint(endpointOptions);
  const picture = image && (await pictureOf(image));
  const told = { from: prompt, rules: digest([rules, limits]).slice(0, 16), seed };
  try {
    // What was kept is found without the server, where the model is named.
    const model = endpointOptions.model ?? (await endpoint.look(signal)).model;
    const key = digest(["enhance/1", prompt, endpoint.address, model, told.rules, seed, picture && digest([...picture])]);
    const kept = cache ? await findEnhanced(key) : undefined;
    if (kept) return { ...told, prompt: kept.prompt, enhanced: true, cached: true, model: kept.model };
    const count = checkpoint && tokensBy(await T5Tokenizer.open(checkpoint));
    const asking = picture ? imageRequest(prompt, picture, rules, seed) : textRequest(prompt, rules, seed);
    const shorter = limits.maxWords < rules.prompt.maxWords ? `\n\nThis model reads little: at most ${limits.maxWords} words.` : "";
    const request = { ...asking, system: `${asking.system}${shorter}` };
    const { text, violations } = await askByRules(endpoint, request, { rules: limits, count, signal });
    if (violations.length)
      return unchanged(told, `no answer kept the rules (${violations.map((one) => one.told).join("; ")})`, options.onWarning);
    const served = endpoint.servedModel ?? model;
    if (cache) await keepEnhanced(key, { prompt: text, from: prompt, model: served });
    return { ...told, prompt: text, enhanced: true, cached: false, model: served };
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof EndpointError) return unchanged(told, error.message, options.onWarning);
    throw error;
  }
}

/** English takes about this many tokens a word, with room for rare ones. */
const TOKENS_PER_WORD = 1.6;

/** A model that reads fewer tokens gets fewer words. */
const limitsFor = (own: TextRules, maxTokens = own.maxTokens): TextRules => ({
  ...own,
  maxTokens: Math.min(own.maxTokens, maxTokens),
  maxWords: Math.max(1, Math.min(own.maxWords, Math.floor(maxTokens / TOKENS_PER_WORD))),
});

function unchanged(
  told: Pick<EnhancedPrompt, "from" | "rules" | "seed">,
  reason: string,
  onWarning: ((message: string) => void) | undefined,
): EnhancedPrompt {
  onWarning?.(`[enhance] the prompt is used as it was written: ${reason}`);
  return { ...told, prompt: told.from, enhanced: false, cached: false, reason };
}

const textRequest = (prompt: string, { instructions, examples }: Rules, seed: number): ChatRequest => ({
  system: instructions.textToVideo,
  before: examples.flatMap((one) => [
    { role: "user" as const, text: asked(one.prompt) },
    { role: "assistant" as const, text: one.text },
  ]),
  parts: [{ text: asked(prompt) }],
  seed,
  ...SAMPLING,
});

const asked = (prompt: string): string => `Write one detailed description in ENGLISH for the user's input: "${prompt}"`;

function imageRequest(prompt: string, jpeg: Uint8Array, { instructions }: Rules, seed: number): ChatRequest {
  const text = prompt.trim() ? `The user wrote: "${prompt}". Answer in ENGLISH.` : "Answer in ENGLISH.";
  const parts: ChatPart[] = [{ jpeg }, { text }];
  return { system: instructions.imageToVideo, parts, seed, ...SAMPLING };
}
