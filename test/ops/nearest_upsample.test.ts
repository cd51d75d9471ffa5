import { expect, test } from "vitest";
import { nearestUpsampleCases } from "../../src/check/sweep/cases/nearest_upsample.ts";
import { Graph } from "../../src/graph/graph.ts";
import { nearestUpsample } from "../../src/ops/nearest_upsample.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(nearestUpsampleCases);

test("doubling keeps the first of an odd number of frames single unless told", () => {
  const x = new Graph("upsample").input("x", [1, 3, 2, 2, 4]);
  expect(nearestUpsample(x, { time: true }).dim(1)).toBe(5);
  expect(nearestUpsample(x, { time: true, keepFirst: false }).dim(1)).toBe(6);
});
