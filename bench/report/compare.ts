/** `--compare OLD.json`: this run beside an earlier one, case by case. */
import { table } from "../../src/cli/terminal/table.ts";
import type { OursResult } from "../measure/contest.ts";
import type { BenchRecord } from "./record.ts";

export interface Comparison {
  readonly name: string;
  readonly before: number;
  readonly now: number;
  /** Speed now over speed before: below 1 it is slower. */
  readonly ratio: number;
  /** What the two runs' own spread leaves open, as a share. */
  readonly noise: number;
  readonly verdict: "faster" | "slower" | "same";
}

/** A difference that a quiet machine's clock alone can make. */
const LEAST_NOISE = 0.03;

/**
 * Machines drift, so what is compared is a time in units of the run's own ceiling: of multiply-adds for cases that are bound by
 * them, of the copy for the others.
 */
export function compareRuns(old: BenchRecord, now: BenchRecord): Comparison[] {
  const out: Comparison[] = [];
  for (const { case: c, ours } of now.results) {
    const before = old.results.find((r) => r.case.name === c.name)?.ours;
    if (!ours || !before) continue;
    // An earlier bench may not have measured this one's ceiling: then the clock alone decides.
    const bound = boundOf(ours);
    const [then, today] = [before.ceilings[bound], ours.ceilings[bound]];
    const drift = then && today ? then / today : 1;
    const ratio = (before.ms.median / ours.ms.median) * drift;
    const noise = Math.max(LEAST_NOISE, 3 * Math.hypot(before.ms.spread, ours.ms.spread));
    out.push({
      name: c.name,
      before: before.ms.median,
      now: ours.ms.median,
      ratio,
      noise,
      verdict: ratio < 1 / (1 + noise) ? "slower" : ratio > 1 + noise ? "faster" : "same",
    });
  }
  return out;
}

/** The ceiling that bounds the case. */
function boundOf({ flops = 0, bytes = 0, ceilings }: OursResult): "f32" | "copy" {
  return flops / (ceilings.f32 ?? 1) >= bytes / (ceilings.copy ?? 1) ? "f32" : "copy";
}

export function comparisonTable(rows: readonly Comparison[]): string {
  return table(
    ["case", "ms before", "ms now", "× by the ceilings", "noise", ""],
    rows.map((r) => [
      r.name,
      r.before.toFixed(2),
      r.now.toFixed(2),
      r.ratio.toFixed(2),
      `${(100 * r.noise).toFixed(0)} %`,
      r.verdict === "slower" ? "REGRESSION" : r.verdict === "faster" ? "faster" : "",
    ]),
  );
}
