import { expect, test } from "vitest";
import { siluCases, siluReference } from "../../src/check/sweep/cases/silu.ts";
import { silu } from "../../src/ops/silu.ts";
import { expectClose } from "../support/compare.ts";
import { runGraph } from "../support/gpu.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(siluCases);

test("silu at both ends", async () => {
  const x = Float32Array.of(-1e30, -200, -1, -0.5, 0, 0.5, 1, 1e30);
  const out = await runGraph((g) => ({ y: silu(g.input("x", [8])) }), { inputs: { x } });
  expect(out["y"]!.every(Number.isFinite)).toBe(true);
  expectClose(out["y"]!.subarray(1), siluReference({ x: x.subarray(1) }), 1e-6);
});
