import { expect, test } from "vitest";
import { muonMomentumCases } from "../../src/check/sweep/cases/muon_momentum.ts";
import { Graph } from "../../src/graph/graph.ts";
import { muonMomentum } from "../../src/ops/muon_momentum.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(muonMomentumCases);

test("a gradient of another shape is refused", () => {
  const g = new Graph("refused");
  expect(() => muonMomentum(g.input("m", [8]), g.input("g", [4]), g.input("control", [16]))).toThrow(
    /\[muon_momentum\] m and g must be f32/,
  );
});
