import { expect, test } from "vitest";
import { leakyReluCases } from "../../src/check/sweep/cases/leaky_relu.ts";
import { Graph } from "../../src/graph/graph.ts";
import { leakyRelu } from "../../src/ops/leaky_relu.ts";
import { gradientTests } from "../support/gradients.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(leakyReluCases);
// At zero there is no slope: the steps of central differences would go to both sides.
gradientTests({
  ...leakyReluCases,
  cases: [0, 0.2].map((slope) => ({
    size: "odd",
    name: `away from zero, slope ${slope}`,
    record: (draw) => ({
      y: leakyRelu(draw.input("x", [9, 4], { data: Float32Array.from({ length: 36 }, (_, i) => (i % 3 ? 1 : -1) * (1 + i)) }), slope),
    }),
    reference: ({ x }) => ({ y: Float64Array.from(x!, (v) => (v > 0 ? v : slope * v)) }),
  })),
});

test("a slope below zero, and a size that is no multiple of 4, are refused", () => {
  const g = new Graph("refused");
  expect(() => leakyRelu(g.input("x", [4]), -1)).toThrow(/\[leaky_relu\] the slope must be a number from 0, got -1/);
  expect(() => leakyRelu(g.input("y", [3]), 0)).toThrow(/\[leaky_relu\] x must be f32 or f16 with a multiple of 4 values/);
});
