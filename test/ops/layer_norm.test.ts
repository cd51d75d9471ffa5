import { describe, expect, test } from "vitest";
import { layerNorm } from "../../src/ops/layer_norm.ts";
import { expectClose, toHalf, values } from "../support/compare.ts";
import { limitedGpu, runGraph, testGpu } from "../support/gpu.ts";

function reference(x: Float32Array, d: number, width: number, eps: number, each: (v: number, row: number, column: number) => number): Float64Array {
  const y = new Float64Array(x.length);
  for (let r = 0; r < x.length / d; r++) {
    let mean = 0;
    for (let i = 0; i < width; i++) mean += x[r * d + i]! / width;
    let variance = 0;
    for (let i = 0; i < width; i++) variance += (x[r * d + i]! - mean) ** 2 / width;
    for (let i = 0; i < width; i++) y[r * d + i] = each((x[r * d + i]! - mean) / Math.sqrt(variance + eps), r, i);
  }
  return y;
}

/** Tokens of a few modulations: runs whose ends lie inside a group of 4 rows and between two, and single rows. */
const runs = (rows: number): Uint32Array => Uint32Array.from({ length: rows }, (_, r) => (r < 5 ? 0 : r < 23 ? 2 : r < 40 ? (r % 3) * 2 : 4));

// A row of 6148 columns is more than 4 vectors each of the largest workgroup; 1100 rows are several for a workgroup that takes runs of them.
describe.each(["software", "hardware"] as const)("kernels for %s", (kind) => {
  test.each([[1, 4], [5, 64], [67, 260], [3, 1920], [6, 3072], [2, 6148], [1100, 12]])("affine and modulated, %d × %d", async (rows, d) => {
    await using gpu = await limitedGpu({ kind });
    // A mean a thousand times the spread: a variance from E[x²] − mean² would lose all its digits.
    const x = values(rows * d, 1).map((v) => 300 + v);
    const [w, b, table] = [values(d, 2), values(d, 3), values(6 * d, 4)];
    const rowOf = runs(rows);
    const out = await runGraph((g) => ({
      y: layerNorm(g.input("x", [rows, d]), { weight: g.input("w", [d]), bias: g.input("b", [d]), modulation: { table: g.input("t", [6, d]), rows: g.constant("rows", rowOf) } }),
    }), { gpu, inputs: { x, w, b, t: table } });
    const want = reference(x, d, d, 1e-5, (v, r, i) => (v * w[i]! + b[i]!) * (1 + table[(rowOf[r]! + 1) * d + i]!) + table[rowOf[r]! * d + i]!);
    // The reference sees the same rounded x; what is left is the f32 subtraction of a mean of 300.
    expectClose(out["y"]!, want, 1e-4, [rows, d]);
  });

  test("f16 rows", async ({ skip }) => {
    skip(!(await testGpu()).caps.f16, "needs an adapter with shader-f16");
    await using gpu = await limitedGpu({ kind });
    const [rows, d] = [13, 196];
    // Values that f16 holds exactly.
    const x = values(rows * d, 1).map((v) => Math.round(v * 256) / 256);
    const out = await runGraph((g) => ({ y: layerNorm(g.input("x", [rows, d], "f16"), { dtype: "f16" }) }), { gpu, inputs: { x: toHalf(x) } });
    expectClose(out["y"]!, reference(x, d, d, 1e-5, (v) => v), 1e-3, [rows, d]);
  });
});

test("rows that are asked for, in windows, and columns that are padding", async () => {
  await using gpu = await limitedGpu({ maxBindingBytes: 40960, maxGrid: 9 });
  const [rows, d, width] = [400, 64, 61];
  const x = values(rows * d, 5).map((v, i) => (i % d < width ? v : 0));
  const source = Uint32Array.from({ length: 120 }, (_, r) => (r < 60 ? 20 + r : 100 + r - 20));
  const out = await runGraph((g) => ({ y: layerNorm(g.input("x", [rows, d]), { source: g.constant("source", source), width }) }), { gpu, inputs: { x } });
  const all = reference(x, d, width, 1e-5, (v) => v);
  const want = Float64Array.from({ length: source.length * d }, (_, i) => all[source[Math.floor(i / d)]! * d + (i % d)]!);
  const got = out["y"]!.map((v, i) => (i % d < width ? v : 0));
  expectClose(got, want, 1e-5, [source.length, d]);
});

test("a width that is no multiple of 4, and half of an affine pair, are refused", async () => {
  await expect(runGraph((g) => ({ y: layerNorm(g.input("x", [2, 6])) }))).rejects.toThrow(/multiple of 4/);
  await expect(runGraph((g) => ({ y: layerNorm(g.input("x", [2, 8]), { weight: g.input("w", [8]) }) }))).rejects.toThrow(/weight and bias must both/);
  expect((await testGpu()).lost).toBeNull();
});
