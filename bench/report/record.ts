/** One run of the bench, as it is kept in bench/results. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../src/cli/package-root.ts";
import type { Opened } from "../contenders/protocol.ts";
import type { IsaRow } from "../isa/measure.ts";
import type { CeilingRates } from "../measure/ceiling.ts";
import type { CaseResult } from "../measure/contest.ts";
import type { Generation } from "../measure/generation.ts";
import type { Runtime } from "../measure/runtime.ts";

export interface BenchRecord {
  readonly date: string;
  readonly command: string;
  readonly machine: { readonly system: string; readonly cpu: string; readonly cores: number; readonly memoryGB: number; readonly node: string };
  /** With the adapter's capabilities. */
  readonly engine: Opened;
  readonly peers: readonly (Opened & { readonly id: string })[];
  /** Peers that were not there, and why. */
  readonly missing: readonly string[];
  readonly ceilings: { readonly before: CeilingRates; readonly after: CeilingRates };
  /** Modules whose reference cases passed in this run, or what failed. */
  readonly checked: readonly string[];
  readonly results: readonly CaseResult[];
  readonly runtime?: Runtime;
  readonly generation?: Generation;
  readonly readme?: { readonly seconds: number; readonly peakMB: number };
  /** What could not be measured. */
  readonly failures: readonly string[];
}

export const resultsFolder = join(packageRoot, "bench", "results");

/** Earlier runs on the same adapter, oldest first. */
export function history(engine: Opened, folder = resultsFolder): BenchRecord[] {
  if (!existsSync(folder)) return [];
  const records: BenchRecord[] = [];
  for (const name of readdirSync(folder).filter((n) => n.endsWith(".json")).sort()) {
    try {
      const record = JSON.parse(readFileSync(join(folder, name), "utf8")) as BenchRecord;
      if (record.engine?.adapter === engine.adapter && record.ceilings?.before && Array.isArray(record.results)) records.push(record);
    } catch {
      // Another bench's file, or one that was cut short: no history of ours.
    }
  }
  return records;
}

/** What `npm run bench:isa` left, a row for each kernel: registers, occupancy, and shares of the hot loop's vector issue slots. */
export function isaRows(folder = resultsFolder): readonly Record<string, string | number>[] {
  const file = join(folder, "isa.json");
  if (!existsSync(file)) return [];
  const { family, rows = [] } = JSON.parse(readFileSync(file, "utf8")) as { family: string; rows?: IsaRow[] };
  const share = (value: number | undefined): string => (value === undefined ? "–" : `${(100 * value).toFixed(1)} %`);
  return rows.map(({ case: of, label, isa: { stats, loop } }) => ({
    case: of, kernel: label, GPU: family, VGPRs: stats.vgprs, spills: stats.spills, "LDS bytes": stats.ldsBytes, "waves a SIMD": stats.waves,
    "useful share": share(loop?.useful), "WMMA share": loop?.matrix ? share(loop.matrixShare) : "–", "with the loop around it": share(loop?.main),
  }));
}
