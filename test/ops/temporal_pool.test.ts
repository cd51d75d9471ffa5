import { expect, test } from "vitest";
import { temporalPoolCases } from "../../src/check/sweep/cases/temporal_pool.ts";
import { Graph } from "../../src/graph/graph.ts";
import { temporalPool } from "../../src/ops/temporal_pool.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(temporalPoolCases);

test("the mean of two frames needs two where the first is not kept", () => {
  const graph = new Graph("pool");
  const x = (frames: number) => graph.input(`x${frames}`, [1, frames, 2, 2, 4]);
  expect(temporalPool(x(5)).dim(1)).toBe(3);
  expect(temporalPool(x(7), { keepFirst: false }).dim(1)).toBe(3);
  expect(() => temporalPool(x(1), { keepFirst: false })).toThrow(
    /^\[temporal_pool\] the mean of two frames needs two, got x \[1, 1, 2, 2, 4\]/,
  );
});
