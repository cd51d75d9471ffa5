import { expect, test } from "vitest";
import { adversarialLossCases } from "../../src/check/sweep/cases/adversarial_loss.ts";
import { Graph } from "../../src/graph/graph.ts";
import { differentiate } from "../../src/gradient/differentiate.ts";
import { watch } from "../../src/gradient/watch.ts";
import { adversarialLoss, SIDES } from "../../src/ops/adversarial_loss.ts";
import { runGraph } from "../../src/run/run-graph.ts";
import { testGpu } from "../support/gpu.ts";
import { gradientTests } from "../support/gradients.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(adversarialLossCases);
gradientTests(adversarialLossCases);

test("a score that is not finite makes the loss none, and its own slope", async () => {
  const gpu = await testGpu();
  for (const side of SIDES)
    for (const bad of [Number.NaN, Infinity, -Infinity]) {
      const graph = new Graph("scores that are none");
      const scores = watch(graph.input("scores", [70, 4]));
      const loss = adversarialLoss(scores, side);
      graph.output("loss", loss);
      const [dx] = differentiate([{ of: loss, gradient: graph.input("dy", [1]) }], [scores]);
      graph.output("dx", dx!);
      const values = new Float32Array(280).fill(0.3);
      values[4 * 66] = bad;
      const out = await runGraph(gpu, graph, { scores: values, dy: Float32Array.of(1) });
      expect(out["loss"]![0], `${side} of ${bad}`).toBeNaN();
      expect([...(out["dx"] as Float32Array).entries()].filter(([, v]) => !Number.isFinite(v)).map(([i]) => i)).toEqual([264]);
    }
});

test("what is no map of scores is refused", () => {
  const x = new Graph("refused").input("x", [1, 2, 2, 8]);
  expect(() => adversarialLoss(x, "real")).toThrow(/\[adversarial_loss\] scores must be f32 \[..., 4\], one channel padded/);
});
