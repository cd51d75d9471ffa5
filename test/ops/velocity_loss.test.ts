import { expect, test } from "vitest";
import { velocityLossCases } from "../../src/check/sweep/cases/velocity_loss.ts";
import { Graph } from "../../src/graph/graph.ts";
import { velocityLoss } from "../../src/ops/velocity_loss.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(velocityLossCases);

test("a prediction of another shape is refused", () => {
  const g = new Graph("refused");
  const [x, noise, table] = [g.input("x", [6, 5]), g.input("noise", [6, 5]), g.input("table", [1, 4])];
  const rows = g.constant("rows", new Uint32Array(6));
  expect(() => velocityLoss({ x, noise, table, rows, prediction: g.input("short", [5, 5]) })).toThrow(
    /\[velocity_loss\] the prediction must be f32 or f16 of the latents/,
  );
});
