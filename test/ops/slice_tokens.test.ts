import { expect, test } from "vitest";
import { sliceTokensCases } from "../../src/check/sweep/cases/slice_tokens.ts";
import { Graph } from "../../src/graph/graph.ts";
import { sliceTokens } from "../../src/ops/slice_tokens.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(sliceTokensCases);

test("tokens past the end are refused", () => {
  const x = new Graph("refused").input("x", [2, 5, 8]);
  expect(() => sliceTokens(x, { first: 3, count: 3 })).toThrow(/\[slice_tokens\] the tokens must lie within the 5 of x/);
});
