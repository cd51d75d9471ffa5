/** One exchange with a server over HTTP: sent again while it fails in passing, as late as the server asks. */
import { pause } from "../../base/pause.ts";
import { ask, NetworkFault } from "../../sources/http-guard.ts";
import { PASSING, retryAfter } from "../../sources/http-retry.ts";
import { EndpointError, scopeOf, wordsOf, type FaultScope, type Refusal } from "./faults.ts";
import type { Gate } from "./gate.ts";

/** What holds for every exchange with an endpoint. */
export interface Wire {
  readonly gate: Gate;
  readonly label: string;
  readonly tries: number;
  readonly timeoutSeconds: number;
  readonly longestWaitSeconds: number;
  readonly fetch: typeof globalThis.fetch | undefined;
  /** To this host alone. */
  readonly headers: Readonly<Record<string, string>>;
}

export interface Sending {
  /** What is posted; a GET without. */
  readonly post?: string | FormData;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
  /** Called before each try is sent; may take its time, or throw. */
  readonly begin?: () => Promise<void>;
  /** Called after each, with the body of an answer. */
  readonly end?: (body?: unknown) => void;
  /** Answers that are no JSON: the bytes of a file. */
  readonly raw?: boolean;
}

/** A server's answer: what it sent, or why it did not. */
export type Outcome =
  | { readonly ok: true; readonly body: unknown }
  | { readonly ok: false; readonly refusal: Refusal & { scope: FaultScope } };

/** Bytes of an answer. */
const MOST_BYTES = 16 * 2 ** 20;
const MOST_FILE_BYTES = 2 ** 30;
/** Seconds before the second try; each further one waits twice as long. */
const FIRST_WAIT = 0.5;
const LONGEST_BACK_OFF = 60;

/** @throws EndpointError where every try failed in passing; the signal's reason */
export async function exchange(wire: Wire, url: URL, { begin, end, ...how }: Sending): Promise<Outcome> {
  for (let tries = 1; ; tries++) {
    await wire.gate.open(how.signal);
    await begin?.();
    let body: unknown;
    let failure: Failure;
    try {
      const outcome = await once(wire, url, how);
      if (!("wait" in outcome)) {
        if (outcome.ok) body = outcome.body;
        return outcome;
      }
      failure = outcome;
    } finally {
      end?.(body);
    }
    if (failure.stalled) tries++; // it was waited for long enough
    if (failure.final || tries >= wire.tries || failure.wait > wire.longestWaitSeconds) throw failed(wire, failure, tries);
    // Nobody else would be answered either while a server asks for rest.
    if (failure.wait > 0) wire.gate.shut(failure.wait);
    else await pause(1000 * Math.min(LONGEST_BACK_OFF, FIRST_WAIT * 2 ** (tries - 1)) * (0.75 + Math.random() / 2), how.signal);
  }
}

/** Why a try came to nothing. */
interface Failure {
  /** Seconds that the server asks to be left alone for; 0 where it asks for none. */
  readonly wait: number;
  readonly got: string;
  readonly final?: boolean;
  readonly stalled?: boolean;
  readonly cause?: unknown;
}

async function once(
  { label, timeoutSeconds, fetch, headers: own }: Wire,
  url: URL,
  { post, headers = {}, signal, raw = false }: Sending,
): Promise<Outcome | Failure> {
  try {
    const answer = await ask(url, {
      fetch,
      signal,
      stallSeconds: timeoutSeconds,
      headers: { accept: "application/json", ...headers },
      own,
      post,
    });
    const bytes = await answer.bytes(raw ? MOST_FILE_BYTES : MOST_BYTES);
    if (answer.status >= 200 && answer.status < 300 && raw) return { ok: true, body: bytes };
    const text = new TextDecoder().decode(bytes);
    if (answer.status >= 200 && answer.status < 300) {
      try {
        return { ok: true, body: JSON.parse(text) };
      } catch (cause) {
        return { wait: 0, got: `an answer that is no JSON: ${JSON.stringify(wordsOf(text).slice(0, 60))}`, cause };
      }
    }
    const refusal = { status: answer.status, words: wordsOf(text) };
    const scope = scopeOf(refusal);
    if (!PASSING.has(answer.status) || scope === "endpoint") return { ok: false, refusal: { ...refusal, scope } };
    return { wait: waitOf(answer.headers), got: `${answer.status} ${refusal.words}` };
  } catch (error) {
    if (!(error instanceof NetworkFault)) {
      signal?.throwIfAborted();
      throw new EndpointError("endpoint", `${label}: a request must be one that can be sent, got ${(error as Error).message}`, {
        cause: error,
      });
    }
    return { wait: 0, got: error.got, final: error.kind === "final", stalled: error.kind === "stalled", cause: error };
  }
}

/** Seconds to wait, by the headers that servers have for it; not above 0 where they say nothing. */
function waitOf(headers: Headers): number {
  const ms = Number(headers.get("retry-after-ms") ?? NaN);
  const seconds = Number.isFinite(ms) ? ms / 1000 : retryAfter(headers);
  return Number.isFinite(seconds) ? Math.max(0, seconds) : 0;
}

const failed = ({ label, longestWaitSeconds }: Wire, { got, wait, cause }: Failure, tries: number): EndpointError =>
  new EndpointError(
    "request",
    wait > longestWaitSeconds
      ? `${label}: a server may ask for ${longestWaitSeconds} s of rest, got ${Math.ceil(wait)} s (${got}); go on later, or raise the limit`
      : `${label} must answer, got ${got}, ${tries === 1 ? "once" : `${tries} times`}; see whether the server runs`,
    cause === undefined ? {} : { cause },
  );
