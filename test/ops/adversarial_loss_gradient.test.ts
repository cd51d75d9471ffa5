import { expect, test } from "vitest";
import { adversarialLossGradientCases } from "../../src/check/sweep/cases/adversarial_loss_gradient.ts";
import { Graph } from "../../src/graph/graph.ts";
import { adversarialLossGradient } from "../../src/ops/adversarial_loss_gradient.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(adversarialLossGradientCases);

test("a gradient of more than one value is refused", () => {
  const g = new Graph("refused");
  expect(() => adversarialLossGradient(g.input("scores", [2, 4]), g.input("dy", [2]), "made")).toThrow(
    /\[adversarial_loss_gradient\] dy must be f32 \[1\]/,
  );
});
