import { describe, expect, test } from "vitest";
import { rmsNorm } from "../../src/ops/rms_norm.ts";
import { expectClose, values } from "../support/compare.ts";
import { limitedGpu, runGraph, testGpu } from "../support/gpu.ts";

export const cases = [
  { tag: "tiny", rows: 1, c: 4 },
  { tag: "odd", rows: 3, c: 20 },
  { tag: "odd", rows: 67, c: 516 },
  { tag: "odd", rows: 6, c: 5124 },
  { tag: "model", rows: 226, c: 4096 },
];

function reference(x: Float32Array, weight: Float32Array, c: number, eps: number): Float64Array {
  return Float64Array.from(x, (v, i) => {
    const row = x.subarray(i - (i % c), i - (i % c) + c);
    return (v * weight[i % c]!) / Math.sqrt(row.reduce((s, e) => s + e * e, 0) / c + eps);
  });
}

describe.each(cases.filter((c) => c.tag !== "model"))("rms_norm $rows × $c", ({ rows, c }) => {
  const x = values(rows * c, 1, 3), weight = values(c, 2);
  const want = reference(x, weight, c, 1e-3);

  test("f32", async () => {
    const out = await runGraph((g) => ({ y: rmsNorm(g.input("x", [rows, c]), g.weight("w", [c]), { eps: 1e-3 }) }), { weights: { w: { data: weight, shape: [c] } }, inputs: { x } });
    expectClose(out["y"]!, want, 1e-6, [rows, c]);
  });

  test("with the kernel for GPUs", async () => {
    await using gpu = await limitedGpu({ kind: "hardware" });
    const out = await runGraph((g) => ({ y: rmsNorm(g.input("x", [rows, c]), g.weight("w", [c]), { eps: 1e-3 }) }), { gpu, weights: { w: { data: weight, shape: [c] } }, inputs: { x } });
    expectClose(out["y"]!, want, 1e-6, [rows, c]);
  });

  test("f16 result", async ({ skip }) => {
    skip(!(await testGpu()).caps.f16, "needs an adapter with shader-f16");
    const out = await runGraph((g) => ({ y: rmsNorm(g.input("x", [rows, c]), g.weight("w", [c]), { eps: 1e-3, dtype: "f16" }) }), { weights: { w: { data: weight, shape: [c] } }, inputs: { x } });
    expectClose(out["y"]!, want, 1e-3, [rows, c]);
  });
});

test("values of 1e5 and of 1e-5 are normalised alike", async () => {
  const [rows, c] = [2, 64];
  const x = values(rows * c, 3).map((v, i) => v * (i < c ? 1e5 : 1e-5));
  const weight = values(c, 4);
  const out = await runGraph((g) => ({ y: rmsNorm(g.input("x", [rows, c]), g.weight("w", [c]), { eps: 1e-20 }) }), { weights: { w: { data: weight, shape: [c] } }, inputs: { x } });
  for (let r = 0; r < rows; r++) expectClose(out["y"]!.subarray(r * c, (r + 1) * c), reference(x, weight, c, 1e-20).subarray(r * c, (r + 1) * c), 1e-6, [c]);
});

test.each(["software", "hardware"] as const)("windows of rows, a folded grid and uniforms change nothing: %s", async (kind) => {
  const [rows, c] = [300, 64];
  const x = values(rows * c, 1), weight = values(c, 2);
  await using gpu = await limitedGpu({ maxBindingBytes: 16 * 1024, maxGrid: 17, immediates: false, kind });
  const out = await runGraph((g) => ({ y: rmsNorm(g.input("x", [rows, c]), g.weight("w", [c])) }), { gpu, weights: { w: { data: weight, shape: [c] } }, inputs: { x } });
  expectClose(out["y"]!, reference(x, weight, c, 1e-6), 1e-6, [rows, c]);
});

test("a weight of another width is refused", async () => {
  await expect(runGraph((g) => ({ y: rmsNorm(g.input("x", [2, 8]), g.input("w", [4])) }))).rejects.toThrow(/\[rms_norm\] the weight must be f32 \[8\], got w f32 \[4\]/);
});
