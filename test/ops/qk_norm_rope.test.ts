import { describe, expect, test } from "vitest";
import { Graph, type Op, type OutputSpec, type Tensor } from "../../src/graph/graph.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { qkNormRope } from "../../src/ops/qk_norm_rope.ts";
import { silu } from "../../src/ops/silu.ts";
import { expectClose, values } from "../support/compare.ts";
import { limitedGpu, runGraph } from "../support/gpu.ts";

/** x [heads, rows, d] */
function reference(x: Float32Array, rows: number, heads: number, d: number, norm: Float32Array, rope: { table: Float32Array; position: Uint32Array }): Float64Array {
  const out = new Float64Array(heads * rows * d);
  for (let h = 0; h < heads; h++) for (let r = 0; r < rows; r++) {
    const at = (h * rows + r) * d;
    let v = Array.from(x.subarray(at, at + d));
    const mean = v.reduce((a, b) => a + b) / d;
    const variance = v.reduce((a, b) => a + (b - mean) ** 2, 0) / d;
    v = v.map((value, i) => ((value - mean) / Math.sqrt(variance + 1e-6)) * norm[i]! + norm[d + i]!);
    const cs = (i: number) => rope.table[rope.position[r]! * d + i]!;
    v.map((value, i) => (i % 2 ? value * cs(i - 1) + v[i - 1]! * cs(i) : value * cs(i) - v[i + 1]! * cs(i + 1))).forEach((value, i) => (out[at + i] = value));
  }
  return out;
}
/** x [rows, 4] · w [heads·d, 4]ᵀ, by head */
function projection(x: Float32Array, w: Float32Array, rows: number, heads: number, d: number): Float32Array {
  return Float32Array.from({ length: heads * rows * d }, (_, i) => {
    const [h, r, c] = [Math.floor(i / (rows * d)), Math.floor(i / d) % rows, i % d];
    return [0, 1, 2, 3].reduce((sum, j) => sum + x[r * 4 + j]! * w[(h * d + c) * 4 + j]!, 0);
  });
}

describe.each([[1, 1, 4, false], [19, 3, 16, false], [35, 2, 64, false], [9, 5, 40, false], [7, 1, 128, false], [260, 12, 16, true]])("%d rows × %d heads × %d, narrow bindings %s", (rows, heads, d, narrow) => {
  // Activations are overwritten, inputs are not.
  test.each([[true], [false]])("in place: %s", async (inPlace) => {
    await using gpu = await limitedGpu(narrow ? { maxBindingBytes: 80 * 1024, maxGrid: 50, immediates: false } : {});
    const x = values(rows * 4, 7, 3);
    const [q, k] = (inPlace ? [values(heads * d * 4, 1), values(heads * d * 4, 6)] : [values(heads * rows * d, 1, 3), values(heads * rows * d, 6, 3)]) as [Float32Array, Float32Array];
    const [nq, nk] = [values(2 * d, 2), values(2 * d, 3)];
    const position = Uint32Array.from({ length: rows }, (_, r) => (r * 7) % 5);
    const table = values(5 * d, 4);
    const out = await runGraph((g) => {
      const shared = inPlace ? g.input("x", [rows, 4]) : undefined;
      const part = (name: string) => (shared ? matmul(shared, g.weight(name, [heads * d, 4]), { heads: d }) : g.input(name, [heads, rows, d]));
      const [a, b] = [part("q"), part("k")];
      const made = qkNormRope(a, b, { norm: { q: g.input("nq", [2, d]), k: g.input("nk", [2, d]), eps: 1e-6 }, rope: { table: g.input("rope", [5, d]), position: g.constant("position", position) } });
      expect(made.q.root === a.root && made.k.root === b.root).toBe(inPlace);
      return { done_q: made.q, done_k: made.k };
    }, { gpu, inputs: { ...(inPlace ? { x } : { q, k }), nq, nk, rope: table }, weights: { q: { data: q, shape: [heads * d, 4] }, k: { data: k, shape: [heads * d, 4] } } });
    const rope = { table, position };
    const before = (w: Float32Array) => (inPlace ? projection(x, w, rows, heads, d) : w);
    expectClose(out["done_q"]!, reference(before(q), rows, heads, d, nq, rope), 1e-5, [heads, rows, d]);
    expectClose(out["done_k"]!, reference(before(k), rows, heads, d, nk, rope), 1e-5, [heads, rows, d]);
  });
});

test("what has been overwritten cannot be used", () => {
  const g = new Graph("overwritten");
  const project = (name: string) => matmul(g.input(name, [3, 8]), g.weight(`w${name}`, [8, 8]), { heads: 4 });
  const [q, k] = [project("q"), project("k")];
  const flat = g.reshape(q, [24]);
  const norm = { q: g.weight("nq", [2, 4]), k: g.weight("nk", [2, 4]), eps: 1e-6 };
  const made = qkNormRope(q, k, { norm });
  for (const stale of [q, k, flat]) expect(() => silu(stale)).toThrow(/\[silu\] a tensor cannot be used once a node has taken its memory, got matmul.*after qk_norm_rope; use that node's result/);
  expect(() => g.output("q", q)).toThrow(/a tensor cannot be used once a node has taken its memory/);
  g.output("q", made.q);
  expect(() => qkNormRope(made.q, made.k, { norm })).toThrow(/an output's memory cannot be taken, got "q"/);
});

test("an input beside an activation leaves both as they are", async () => {
  const [x, wq, k] = [values(5 * 4, 1), values(8 * 4, 2), values(2 * 5 * 4, 3)];
  const norm = values(8, 4);
  const out = await runGraph((g) => {
    const q = matmul(g.input("x", [5, 4]), g.weight("wq", [8, 4]), { heads: 4 });
    const weight = g.input("norm", [2, 4]);
    const made = qkNormRope(q, g.input("k", [2, 5, 4]), { norm: { q: weight, k: weight, eps: 1e-6 } });
    expect(made.q.root === q.root || made.k.role !== "activation").toBe(false);
    return { q, ...{ done_q: made.q, done_k: made.k } };
  }, { inputs: { x, k, norm }, weights: { wq: { data: wq, shape: [8, 4] } } });
  const plain = { table: Float32Array.from({ length: 20 }, (_, i) => 1 - (i % 2)), position: new Uint32Array(5) };
  expectClose(out["q"]!, Float64Array.from(projection(x, wq, 5, 2, 4)), 1e-6, [2, 5, 4]);
  expectClose(out["done_q"]!, reference(projection(x, wq, 5, 2, 4), 5, 2, 4, norm, plain), 1e-5, [2, 5, 4]);
  expectClose(out["done_k"]!, reference(k, 5, 2, 4, norm, plain), 1e-5, [2, 5, 4]);
});

test("a graph takes memory for one result, from one input of the node", () => {
  const g = new Graph("taken");
  const x = matmul(g.input("x", [3, 8]), g.weight("w", [8, 8]));
  const op = (over: (x: Tensor) => Record<string, OutputSpec>): Op => ({ name: "odd", infer: ({ x: t }: { x: Tensor }) => over(t), cost: () => ({ flops: 0, bytes: 0 }), lower: () => [] });
  const spec = { shape: [3, 8], dtype: "f32" as const };
  const other = silu(x);
  expect(() => g.record(op(() => ({ y: { ...spec, over: other } })), { x }, {})).toThrow(/\[odd\] a result can take the memory of one input that is no other input too, got silu:y f32 \[3, 8\] 0 times in odd/);
  expect(() => g.record(op((t) => ({ y: { ...spec, over: t } })), { x, z: g.reshape(x, [24]) }, {})).toThrow(/2 times in odd/);
  expect(() => g.record(op((t) => ({ y: { ...spec, over: t }, z: { ...spec, over: t } })), { x }, {})).toThrow(/a tensor's memory can be taken once/);
  const foreign = silu(new Graph("another").input("x", [4]));
  expect(() => g.record(op(() => ({ y: spec })), { x: foreign }, {})).toThrow(/\[odd\] inputs must belong to the graph being recorded/);
  expect(() => g.output("y", foreign)).toThrow(/\[graph\] an output must belong to the graph, got "y" of another/);
});

test("q and k of different shapes are refused", async () => {
  await expect(runGraph((g) => qkNormRope(g.input("q", [3, 2, 8]), g.input("k", [2, 2, 8]), { norm: { q: g.input("nq", [2, 8]), k: g.input("nk", [2, 8]), eps: 0 } }))).rejects.toThrow(/\[qk_norm_rope\] q and k must be \[N, R, D\] of one dtype/);
});
