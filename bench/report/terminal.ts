/** The table on the terminal. */
import { table } from "../../src/cli/terminal/table.ts";
import type { CaseResult } from "../measure/contest.ts";

const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;
const ms = (value: number): string => (value < 100 ? value.toFixed(2) : value.toFixed(0));

export function resultTable(results: readonly CaseResult[], names: readonly string[], ids: readonly string[]): string {
  return table(
    ["case", "ms", "±", "GPU ms", "GFLOP/s", "16 chains", "of peak", "GB/s", "of copy", "attainable", ...names.map((name) => `× ${name}`), "target"],
    results.map(({ case: c, ours, peers }) => [
      c.name,
      ...(ours
        ? [ms(ours.ms.median), percent(ours.ms.spread), ours.gpuMs === undefined ? "–" : ms(ours.gpuMs), ours.gflops.toFixed(1), percent(ours.share.chains), percent(ours.share.peak), ours.gbytes.toFixed(1), percent(ours.share.copy), percent(ours.share.attainable)]
        : ["not timed", "", "", "", "", "", "", "", ""]),
      ...ids.map((id) => peers.find((p) => p.contender === id)?.ratio?.median.toFixed(2) ?? "–"),
      c.target ? `≥ ${c.target.ratio} ×${c.target.share ? `, ${percent(c.target.share.lavapipe)}` : ""}` : "",
    ]),
  );
}
