import { expect, test } from "vitest";
import { runningStatisticsCases } from "../../src/check/sweep/cases/running_statistics.ts";
import { Graph } from "../../src/graph/graph.ts";
import { runningStatistics } from "../../src/ops/running_statistics.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(runningStatisticsCases);

test("statistics of several batch entries are refused", () => {
  const g = new Graph("refused");
  expect(() => runningStatistics(g.input("stats", [2, 1, 3, 4]), g.input("mean", [4]), g.input("variance", [4]))).toThrow(
    /\[running_statistics\] statistics must be \[1, slices, 3, 4\] for 4 channels/,
  );
});
