import { expect, test } from "vitest";
import { maxPool2dGradientCases } from "../../src/check/sweep/cases/max_pool2d_gradient.ts";
import { Graph } from "../../src/graph/graph.ts";
import { maxPool2d } from "../../src/ops/max_pool2d.ts";
import { maxPool2dGradient } from "../../src/ops/max_pool2d_gradient.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(maxPool2dGradientCases);

test("a gradient of another shape is refused", () => {
  const g = new Graph("refused");
  const [x, attrs] = [g.input("x", [1, 1, 4, 4, 4]), { kernel: 2, stride: 2 }];
  expect(() => maxPool2dGradient(x, maxPool2d(x, attrs), g.input("dy", [1, 1, 4, 4, 4]), attrs)).toThrow(
    /\[max_pool2d_gradient\] dy must be f32 or f16 of the shape of y/,
  );
});
