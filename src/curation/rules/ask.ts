/** A text by the rules: asked for, checked, and asked for again with what was wrong; after three retries the best one, marked. */
import type { ChatAnswer, Endpoint } from "../endpoint/endpoint.ts";
import { EndpointError } from "../endpoint/faults.ts";
import type { ChatRequest } from "../endpoint/message.ts";
import { type TokenCount, unwrapped, type Violation, violationsOf } from "./check.ts";
import type { TextRules } from "./rules.ts";

/** One try: what was asked in full, and what came. */
export interface TextTry {
  readonly request: ChatRequest;
  readonly answer?: Pick<ChatAnswer, "text" | "model" | "usage" | "cost" | "ms">;
  readonly violations: readonly Violation[];
  /** Where no answer came that is one. */
  readonly error?: string;
}

/** A text, and how it came about. */
export interface RuledText {
  readonly text: string;
  /** Rules that it breaks all the same: empty where it is as it should be. */
  readonly violations: readonly Violation[];
  readonly tries: readonly TextTry[];
}

export interface AskByRulesOptions {
  readonly rules: TextRules;
  readonly count?: TokenCount | undefined;
  /** How often it is asked for again at most. Default 3. */
  readonly retries?: number;
  readonly signal?: AbortSignal | undefined;
}

/** Throws what the endpoint throws; where only the request failed, after the last try. */
export async function askByRules(
  endpoint: Pick<Endpoint, "chat">,
  request: ChatRequest,
  { rules, count, retries = 3, signal }: AskByRulesOptions,
): Promise<RuledText> {
  const tries: TextTry[] = [];
  let now = request;
  let failure: unknown;
  while (tries.length <= retries) {
    let answer: ChatAnswer;
    try {
      answer = await endpoint.chat(now, signal);
    } catch (error) {
      if (!(error instanceof EndpointError) || error.scope === "endpoint" || signal?.aborted) throw error;
      failure = error;
      tries.push({ request: now, violations: [], error: error.message });
      continue;
    }
    const text = unwrapped(answer.text);
    const cut: Violation[] = answer.finish === "length" ? [{ rule: "unfinished", told: "shorter, and to the end" }] : [];
    const violations = [...violationsOf(text, rules, count), ...cut];
    tries.push({ request: now, answer, violations });
    if (violations.length === 0) return { text, violations, tries };
    now = again(request, text, violations, tries.length);
  }
  const answered = tries.filter((one) => one.answer !== undefined);
  if (answered.length === 0) throw failure;
  const best = answered.reduce((a, b) => (b.violations.length < a.violations.length ? b : a));
  return { text: unwrapped(best.answer!.text), violations: best.violations, tries };
}

/** The request with what was wrong with its answer. Another seed, so that a server that keeps answers does not give the same one. */
function again(request: ChatRequest, text: string, violations: readonly Violation[], tried: number): ChatRequest {
  const wrong = violations.map(({ told }) => `- ${told}`).join("\n");
  const told = `Your answer was:\n${text.slice(0, 4000)}\n\nIt must be, and is not:\n${wrong}\nWrite it again so that it is.`;
  return { ...request, parts: [...request.parts, { text: told }], ...(request.seed === undefined ? {} : { seed: request.seed + tried }) };
}
