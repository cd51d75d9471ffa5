/**
 * How unevenly two workers of a queue work. Who is done first waits for the other, and how long cannot be known from either alone: it
 * depends on what else their machines do, and on whether they share one. So it is taken from what workers of the queue waited before, which
 * the queue keeps.
 */
import type { JobBackend } from "./backend.ts";
import { readRecord, writeRecord } from "./records.ts";

/** What was shared. */
export type SharedWork = "steps" | `${"encode" | "decode"} ${"time" | "space"}`;

type Values = Pick<JobBackend, "values">;
type Met = Readonly<Partial<Record<SharedWork, readonly number[]>>>;

const KEY = "unevenness";
/** So many of the last are kept. */
const KEPT = 3;

/** What was met of shared work, a step or all of it. */
export interface MetWork {
  /** Of the work, waiting included. */
  readonly seconds: number;
  /** Of them, which a worker waited for the other and its bytes. */
  readonly waitingSeconds: number;
  /** That the bytes alone were planned to take. */
  readonly exchangeSeconds: number;
}

/** Keeps what was met, unless another worker does at this moment, or the queue is away: plans can do without. */
export async function keepUnevenness(
  { values }: Values,
  work: SharedWork,
  { seconds, waitingSeconds, exchangeSeconds }: MetWork,
): Promise<void> {
  const share = Math.max(0, waitingSeconds - exchangeSeconds) / Math.max(seconds - waitingSeconds, 1e-9);
  try {
    const found = await readRecord<Met>(values, KEY);
    const { [work]: before = [], ...others } = found?.record ?? {};
    await writeRecord(values, KEY, { ...others, [work]: [...before, share].slice(-KEPT) }, found?.revision ?? 0);
  } catch {
    // The next one is kept.
  }
}

/**
 * Seconds that a worker waits beyond the exchange for each second that it works: the middle of the last three times, of two the lesser, as
 * the first also waits for pipelines that are compiled; 0 where nothing was shared yet.
 */
export async function readUnevenness({ values }: Values, work: SharedWork): Promise<number> {
  // A plan without it is better than none.
  const found = await readRecord<Met>(values, KEY).catch(() => undefined);
  const met = (found?.record[work] ?? []).filter((share) => Number.isFinite(share)).sort((a, b) => a - b);
  return met[Math.floor((met.length - 1) / 2)] ?? 0;
}
