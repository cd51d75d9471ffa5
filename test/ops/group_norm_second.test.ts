import { expect, test } from "vitest";
import { groupNormSecondCases } from "../../src/check/sweep/cases/group_norm_second.ts";
import { Graph } from "../../src/graph/graph.ts";
import { groupNormSecond } from "../../src/ops/group_norm_second.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(groupNormSecondCases);

test("tensors of two shapes and records of another norm are refused", () => {
  const g = new Graph("refused");
  const x = g.input("x", [1, 2, 3, 3, 4]);
  const record = g.input("record", [1, 4, 4]);
  const all = { x, dy: x, dz: x, ofDy: record, ofDz: record, products: record };
  expect(() => groupNormSecond({ ...all, dz: g.input("dz", [1, 2, 3, 4, 4]) })).toThrow(/x, dy and dz must be f32 of one shape/);
  expect(() => groupNormSecond({ ...all, ofDz: g.input("two", [1, 2, 4]) })).toThrow(
    /records must be f32 \[1, 4, 4\].*got two f32 \[1, 2, 4\]/,
  );
});
