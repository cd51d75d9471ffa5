import { expect, test } from "vitest";
import { maxPool2dCases } from "../../src/check/sweep/cases/max_pool2d.ts";
import { Graph } from "../../src/graph/graph.ts";
import { maxPool2d } from "../../src/ops/max_pool2d.ts";
import { gradientTests } from "../support/gradients.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(maxPool2dCases);
gradientTests(maxPool2dCases, { cases: (c) => !c.limits });

test("a picture below the window, and windows with gaps between them, are refused", () => {
  const x = new Graph("refused").input("x", [1, 1, 2, 9, 4]);
  expect(() => maxPool2d(x, { kernel: 3, stride: 1 })).toThrow(/\[max_pool2d\] a picture must hold a window of 3 × 3, got 2 × 9/);
  expect(() => maxPool2d(x, { kernel: 2, stride: 3 })).toThrow(/stride one from 1 to the kernel, got 2 and 3/);
});
