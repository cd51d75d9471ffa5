/** What goes wrong between us and an endpoint: with one request, or with the endpoint as such. */
import { CogwheelError, type CogwheelErrorOptions } from "../../base/errors.ts";

/**
 * `request`: this one failed, others may not. `endpoint`: no request would be answered better (no such model, a key that is refused, a
 * server that is gone, a model that changed, a budget that is spent), so a run over many clips ends with it.
 */
export type FaultScope = "request" | "endpoint";

/** An error of an endpoint. */
export class EndpointError extends CogwheelError {
  constructor(
    readonly scope: FaultScope,
    rule: string,
    options: CogwheelErrorOptions = {},
  ) {
    super("endpoint", rule, options);
  }
}

/** A status and the server's words that came with it. */
export interface Refusal {
  readonly status: number;
  readonly words: string;
}

/** Of the server's words, shown in messages. */
const SHOWN = 300;

/** What an error's body says, in whichever of the usual forms. */
export function wordsOf(body: string): string {
  try {
    const { error, message, detail } = JSON.parse(body) as { error?: unknown; message?: unknown; detail?: unknown };
    const inner = typeof error === "object" && error !== null ? (error as { message?: unknown }).message : error;
    for (const one of [inner, message, detail]) {
      if (typeof one === "string") return one.slice(0, SHOWN);
      if (one !== undefined && one !== null) return JSON.stringify(one).slice(0, SHOWN);
    }
  } catch {
    // no JSON
  }
  return body
    .replace(/<[^>]*>/g, " ")
    .replace(/\s+/g, " ")
    .trim()
    .slice(0, SHOWN);
}

/** Whether a refusal is of the endpoint as such. 404 may be of the model's name or of the address, both of which stay. */
export const scopeOf = ({ status, words }: Refusal): FaultScope =>
  [401, 402, 403, 404, 405, 501].includes(status) ||
  (status === 429 && /insufficient_quota|exceeded your current quota|billing/i.test(words))
    ? "endpoint"
    : "request";
