import { expect, test } from "vitest";
import { adamwCases } from "../../src/check/sweep/cases/adamw.ts";
import { Graph } from "../../src/graph/graph.ts";
import { adamw } from "../../src/ops/adamw.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(adamwCases);

test("a gradient of another shape and a control of another size are refused", () => {
  const g = new Graph("refused");
  const [p, m, v] = ["p", "m", "v"].map((name) => g.input(name, [8])) as [never, never, never];
  const control = g.input("control", [16]);
  expect(() => adamw({ p, m, v, g: g.input("g", [4]), control })).toThrow(/\[adamw\] p, m, v and g must be f32 of one shape/);
  expect(() => adamw({ p, m, v, g: g.input("dp", [8]), control: p })).toThrow(/\[adamw\] control must be f32 \[16\], got p f32 \[8\]/);
});
