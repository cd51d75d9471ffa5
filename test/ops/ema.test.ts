import { expect, test } from "vitest";
import { emaCases } from "../../src/check/sweep/cases/ema.ts";
import { Graph } from "../../src/graph/graph.ts";
import { ema } from "../../src/ops/ema.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(emaCases);

test("an average of another shape is refused", () => {
  const g = new Graph("refused");
  expect(() => ema(g.input("average", [8]), g.input("p", [4]), g.input("control", [16]))).toThrow(
    /\[ema\] the average and p must be f32 of one/,
  );
});
