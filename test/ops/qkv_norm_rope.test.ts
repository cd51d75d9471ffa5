import { expect, test } from "vitest";
import { qkvNormRope } from "../../src/ops/qkv_norm_rope.ts";
import { expectClose, values } from "../support/compare.ts";
import { limitedGpu, runGraph } from "../support/gpu.ts";

function reference(qkv: Float32Array, part: number, rows: number, heads: number, d: number, norm: Float32Array | null, rope: { table: Float32Array; position: Uint32Array } | null): Float64Array {
  const out = new Float64Array(heads * rows * d);
  for (let r = 0; r < rows; r++) for (let h = 0; h < heads; h++) {
    let x = Array.from({ length: d }, (_, i) => qkv[((r * 3 + part) * heads + h) * d + i]!);
    if (norm) {
      const mean = x.reduce((a, b) => a + b) / d;
      const variance = x.reduce((a, b) => a + (b - mean) ** 2, 0) / d;
      x = x.map((v, i) => ((v - mean) / Math.sqrt(variance + 1e-6)) * norm[i]! + norm[d + i]!);
    }
    if (rope) {
      const cs = (i: number) => rope.table[rope.position[r]! * d + i]!;
      x = x.map((v, i) => (i % 2 ? v * cs(i - 1) + x[i - 1]! * cs(i) : v * cs(i) - x[i + 1]! * cs(i + 1)));
    }
    x.forEach((v, i) => (out[(h * rows + r) * d + i] = v));
  }
  return out;
}

test.each([[1, 1, 4, false], [19, 3, 16, false], [35, 2, 64, false], [9, 5, 40, false], [7, 1, 128, false], [260, 12, 16, true]])("%d rows × %d heads × %d, narrow bindings %s", async (rows, heads, d, narrow) => {
  await using gpu = await limitedGpu(narrow ? { maxBindingBytes: 150 * 1024, maxGrid: 50, immediates: false } : {});
  const qkv = values(rows * 3 * heads * d, 1, 3);
  const [q, k] = [values(2 * d, 2), values(2 * d, 3)];
  const position = Uint32Array.from({ length: rows }, (_, r) => (r * 7) % 5);
  const table = values(5 * d, 4);
  const out = await runGraph((g) => qkvNormRope(g.input("qkv", [rows, 3 * heads * d]), {
    heads, norm: { q: g.input("nq", [2, d]), k: g.input("nk", [2, d]), eps: 1e-6 }, rope: { table: g.input("rope", [5, d]), position: g.constant("position", position) },
  }), { gpu, inputs: { qkv, nq: q, nk: k, rope: table } });
  const rope = { table, position };
  expectClose(out["q"]!, reference(qkv, 0, rows, heads, d, q, rope), 1e-5, [heads, rows, d]);
  expectClose(out["k"]!, reference(qkv, 1, rows, heads, d, k, rope), 1e-5, [heads, rows, d]);
  expectClose(out["v"]!, reference(qkv, 2, rows, heads, d, null, null), 1e-7, [heads, rows, d]);
});

test("a width that heads do not divide is refused", async () => {
  await expect(runGraph((g) => qkvNormRope(g.input("qkv", [2, 100]), { heads: 3 }))).rejects.toThrow(/\[qkv_norm_rope\] the projection must have 3 · heads · D columns/);
});
