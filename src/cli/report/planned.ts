/** What stages were planned to take, as a table of a report. */
import { escaped } from "../../base/html.ts";
import { bytesText } from "../../base/units.ts";
import type { StageMemory } from "../../pipelines/requirements.ts";
import { duration } from "../terminal/progress.ts";

const HEADS = ["stage", "weights", "activations", "at most", "work of one run"];

/** Seconds have a column where they are known. */
export function plannedTable(requirements: readonly StageMemory[]): string {
  const timed = requirements.some(({ seconds }) => seconds !== undefined);
  const rows = requirements.map(({ stage, weights, activations, io, states, peak, flops, seconds }) =>
    [
      stage,
      ...[weights, activations + io + states, peak].map((bytes) => bytesText(bytes, 1)),
      `${(flops / 1e9).toFixed(1)} GFLOP`,
      ...(timed ? [seconds === undefined ? "" : duration(seconds)] : []),
    ]
      .map((cell) => `<td>${escaped(cell)}</td>`)
      .join(""),
  );
  const heads = [...HEADS, ...(timed ? ["expected"] : [])].map((head) => `<th>${head}</th>`).join("");
  return `<table><tr>${heads}</tr>${rows.map((row) => `<tr>${row}</tr>`).join("")}</table>`;
}
