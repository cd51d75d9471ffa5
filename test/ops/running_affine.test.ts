import { expect, test } from "vitest";
import { runningAffineCases } from "../../src/check/sweep/cases/running_affine.ts";
import { Graph } from "../../src/graph/graph.ts";
import { runningAffine } from "../../src/ops/running_affine.ts";
import { gradientTests } from "../support/gradients.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(runningAffineCases);
gradientTests(runningAffineCases, { cases: (c) => c.name === "7 channels, variances about 1", without: ["mean", "variance"] });

test("a bias of other channels is refused", () => {
  const g = new Graph("refused");
  const of = (name: string, size = 4) => g.input(name, [size]);
  expect(() => runningAffine(of("mean"), of("variance"), of("weight"), of("bias", 8), 1e-5)).toThrow(
    /\[running_affine\] mean, variance, weight and bias must be f32 \[4\]/,
  );
});
