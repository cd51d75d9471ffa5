import { expect, test } from "vitest";
import { schedulerStep } from "../../src/ops/scheduler_step.ts";
import { schedulerStepCases } from "../../src/check/sweep/cases/scheduler_step.ts";
import { runGraph } from "../support/gpu.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(schedulerStepCases);

test("a prediction of another size is refused", async () => {
  await expect(
    runGraph((g) => ({
      ...schedulerStep({ sample: g.input("s", [2, 4]), prediction: g.input("p", [3, 4]), coefficients: g.input("c", [8]) }),
    })),
  ).rejects.toThrow(/\[scheduler_step\] the prediction must hold the latents' 8 values, or twice as many for guidance, got p f32 \[3, 4\]/);
});
