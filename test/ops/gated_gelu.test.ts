import { expect, test } from "vitest";
import { gatedGelu } from "../../src/ops/gated_gelu.ts";
import { gatedGeluCases } from "../../src/check/sweep/cases/gated_gelu.ts";
import { expectClose } from "../support/compare.ts";
import { runGraph } from "../support/gpu.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(gatedGeluCases);

test("gates of 1e5, of −1e5 and beyond where their cube overflows", async () => {
  const gates = [1e5, -1e5, 1e20, -1e20, 19.5, -19.5, 0, 3e-20];
  const x = Float32Array.from([...gates, ...gates.map((_, i) => i + 1)]);
  const out = await runGraph((g) => ({ y: gatedGelu(g.input("x", [1, 16])) }), { inputs: { x } });
  expectClose(out["y"]!.subarray(0, 2), [1e5, 0], 1e-6);
  expect([...out["y"]!.subarray(2, 4)].map(Math.abs)).toEqual([Math.fround(3 * Math.fround(1e20)), expect.closeTo(0, 2)]);
  expectClose(out["y"]!.subarray(4), [19.5 * 5, 0, 0, 0], 1e-6);
});

test("an axis that is not two halves is refused", async () => {
  await expect(runGraph((g) => ({ y: gatedGelu(g.input("x", [2, 12])) }))).rejects.toThrow(
    /\[gated_gelu\] the last axis must hold two halves of a multiple of 4, got x f32 \[2, 12\]/,
  );
});
