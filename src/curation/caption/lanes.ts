/** Models are asked about many clips: several at a time, and an estimate of what all will take from some of them. */
import { CogwheelError } from "../../base/errors.ts";
import { linkedAbort } from "../../base/linked-abort.ts";
import type { Account } from "../endpoint/spent.ts";
import { digest } from "../ledger/key.ts";
import type { Ledger } from "../ledger/ledger.ts";
import { AnswerPending } from "./pending.ts";

export interface LaneOptions {
  /** Clips at a time. */
  readonly lanes: number;
  readonly signal?: AbortSignal | undefined;
  onProgress?(done: number, all: number): void;
}

/**
 * What is made of clips, by their ids; those whose answers a batch file will bring are left out. The first failure ends it, when what is
 * under way is over and in the ledger.
 * @param look after each clip; what it throws is a failure too
 */
export async function inLanes<Clip extends { readonly id: string }, Made>(
  clips: readonly Clip[],
  ledger: Ledger,
  { lanes, signal, onProgress }: LaneOptions,
  work: (clip: Clip, signal: AbortSignal) => Promise<Made>,
  look: (done: ReadonlyMap<string, Made>) => void = () => {},
): Promise<Map<string, Made>> {
  const done = new Map<string, Made>();
  let next = 0;
  let failure: unknown;
  // A function of its own: where esbuild lowers `using` inside a loop's `try`, what one round throws is thrown again in the next.
  const one = async (clip: Clip): Promise<void> => {
    using own = linkedAbort(signal);
    done.set(clip.id, await work(clip, own.signal));
    look(done);
  };
  const lane = async (): Promise<void> => {
    while (next < clips.length && failure === undefined) {
      const clip = clips[next++]!;
      try {
        await one(clip);
      } catch (error) {
        if (!(error instanceof AnswerPending)) failure ??= error;
      }
      onProgress?.(done.size, clips.length);
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, Math.min(lanes, clips.length)) }, lane));
  await ledger.flush();
  if (failure !== undefined) throw failure;
  return done;
}

/** Clips that an estimate is made from. */
const ESTIMATE_CLIPS = 20;

/** What all clips that are left will take, from what some took. */
export interface AskedEstimate {
  readonly clips: number;
  /** Clips of which the ledger has everything now. */
  readonly measured: number;
  /** Clips that will not be asked about: the ledger has their answers, those of the measured ones too. What follows is for the others. */
  readonly answered: number;
  readonly requests: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly cost: number;
  readonly seconds: number;
  /** Of those that were asked about, why there is no answer. */
  readonly failed: readonly { readonly id: string; readonly error: string }[];
}

/**
 * Asks about some clips in earnest, which the run then has already, and tells what all those that are left will take. They are drawn by
 * their ids, so that a second estimate asks nothing anew.
 * @param ask with `pending` nothing is asked, and clips without a whole answer in the ledger are left out
 * @param stage the ledger's stages whose names begin so are what is estimated @param lanes requests that are under way at a time
 */
export async function estimated<Clip extends { readonly id: string }>(
  clips: readonly Clip[],
  ledger: Ledger,
  { stage, lanes }: { readonly stage: string; readonly lanes: number },
  account: Account,
  ask: (some: readonly Clip[], pending: boolean) => Promise<ReadonlyMap<string, object>>,
): Promise<AskedEstimate> {
  if (clips.length === 0) throw new CogwheelError("caption", "an estimate must have clips, got none; look at what was filtered out");
  const some = clips.toSorted((a, b) => (digest(a.id) < digest(b.id) ? -1 : 1)).slice(0, ESTIMATE_CLIPS);
  const before = account.spent;
  const began = performance.now();
  const answers = await ask(some, false);
  const took = between(before, account.spent);
  const { size: answered } = await ask(clips, true);
  const scale = (clips.length - answered) / some.length;
  const { seconds, ...taken } =
    took.requests > 0 ? { ...took, seconds: (performance.now() - began) / 1000 } : askedBefore(some, ledger, { stage, lanes });
  return {
    clips: clips.length,
    measured: some.length,
    answered,
    requests: Math.ceil(taken.requests * scale),
    inputTokens: Math.ceil(taken.inputTokens * scale),
    outputTokens: Math.ceil(taken.outputTokens * scale),
    cost: taken.cost * scale,
    seconds: seconds * scale,
    failed: [...answers].flatMap(([id, one]) => ("error" in one && typeof one.error === "string" ? [{ id, error: one.error }] : [])),
  };
}

const between = (a: Account["spent"], b: Account["spent"]): Account["spent"] => ({
  requests: b.requests - a.requests,
  inputTokens: b.inputTokens - a.inputTokens,
  outputTokens: b.outputTokens - a.outputTokens,
  cost: b.cost - a.cost,
});

/** What the same clips took when they were asked for, with `lanes` requests under way at a time. */
function askedBefore(
  clips: readonly { readonly id: string }[],
  ledger: Ledger,
  { stage: of, lanes }: { readonly stage: string; readonly lanes: number },
): Account["spent"] & { readonly seconds: number } {
  const asked = clips.flatMap(({ id }) =>
    ledger.of(id).flatMap(({ stage, cost, ms }) => (stage.startsWith(of) && cost ? [{ ...cost, ms }] : [])),
  );
  const sum = (part: (one: (typeof asked)[number]) => number | undefined): number =>
    asked.reduce((total, one) => total + (part(one) ?? 0), 0);
  return {
    requests: sum(({ requests }) => requests),
    inputTokens: sum(({ tokensIn }) => tokensIn),
    outputTokens: sum(({ tokensOut }) => tokensOut),
    cost: sum(({ money }) => money),
    seconds: sum(({ ms }) => ms) / 1000 / lanes,
  };
}
