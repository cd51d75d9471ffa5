import { expect, test } from "vitest";
import { adversarialLossCases } from "../../src/check/sweep/cases/adversarial_loss.ts";
import { Graph } from "../../src/graph/graph.ts";
import { adversarialLoss } from "../../src/ops/adversarial_loss.ts";
import { gradientTests } from "../support/gradients.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(adversarialLossCases);
gradientTests(adversarialLossCases);

test("what is no map of scores is refused", () => {
  const x = new Graph("refused").input("x", [1, 2, 2, 8]);
  expect(() => adversarialLoss(x, "real")).toThrow(/\[adversarial_loss\] scores must be f32 \[..., 4\], one channel padded/);
});
