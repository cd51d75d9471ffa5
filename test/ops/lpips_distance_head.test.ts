import { expect, test } from "vitest";
import { lpipsDistanceHeadCases } from "../../src/check/sweep/cases/lpips_distance_head.ts";
import { Graph } from "../../src/graph/graph.ts";
import { lpipsDistanceHead } from "../../src/ops/lpips_distance_head.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(lpipsDistanceHeadCases);

test("norms of other pictures are refused", () => {
  const g = new Graph("refused");
  const a = g.input("a", [1, 2, 2, 2, 4]);
  const of = { a, b: a, w: g.input("w", [1, 4, 1, 1]), dy: g.input("dy", [2]), inverse: g.input("inverse", [2, 9, 2]) };
  expect(() => lpipsDistanceHead(of)).toThrow(/\[lpips_distance_head\] dy must be f32 with a value for each picture/);
});
