import { expect, test } from "vitest";
import { muonCases } from "../../src/check/sweep/cases/muon.ts";
import { Graph } from "../../src/graph/graph.ts";
import { muon } from "../../src/ops/muon.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(muonCases);

test("an update of another shape is refused", () => {
  const g = new Graph("refused");
  expect(() => muon(g.input("p", [8]), g.input("update", [4]), g.input("control", [16]), { scale: 1 })).toThrow(
    /\[muon\] p and its update/,
  );
});
