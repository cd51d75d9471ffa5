import { expect, test } from "vitest";
import { Graph } from "../../src/graph/graph.ts";
import type { Op, OutputSpec } from "../../src/graph/op.ts";
import type { Tensor } from "../../src/graph/tensor.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { qkNormRope } from "../../src/ops/qk_norm_rope.ts";
import { silu } from "../../src/ops/silu.ts";
import { matmulReference } from "../../src/check/sweep/cases/matmul.ts";
import { qkNormRopeCases, qkNormRopeReference } from "../../src/check/sweep/cases/qk_norm_rope.ts";
import { expectClose, values } from "../support/compare.ts";
import { runGraph } from "../support/gpu.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(qkNormRopeCases);

test("activations are overwritten, inputs are not", () => {
  const g = new Graph("in place");
  const norm = { q: g.input("nq", [2, 4]), k: g.input("nk", [2, 4]), eps: 1e-6 };
  const part = (name: string) => matmul(g.input(name, [3, 8]), g.weight(`w${name}`, [8, 8]), { heads: 4 });
  const [a, b] = [part("a"), part("b")];
  const made = qkNormRope(a, b, { norm });
  expect([made.q.root, made.k.root]).toEqual([a, b]);
  const [q, k] = [g.input("q", [2, 3, 4]), g.input("k", [2, 3, 4])];
  const left = qkNormRope(q, k, { norm });
  expect([left.q.root, left.k.root]).toEqual([left.q, left.k]);
});

test("what has been overwritten cannot be used", () => {
  const g = new Graph("overwritten");
  const project = (name: string) => matmul(g.input(name, [3, 8]), g.weight(`w${name}`, [8, 8]), { heads: 4 });
  const [q, k] = [project("q"), project("k")];
  const flat = g.reshape(q, [24]);
  const norm = { q: g.weight("nq", [2, 4]), k: g.weight("nk", [2, 4]), eps: 1e-6 };
  const made = qkNormRope(q, k, { norm });
  for (const stale of [q, k, flat])
    expect(() => silu(stale)).toThrow(
      /\[silu\] a tensor cannot be used once a node has taken its memory, got matmul.*after qk_norm_rope; use that node's result/,
    );
  expect(() => g.output("q", q)).toThrow(/a tensor cannot be used once a node has taken its memory/);
  g.output("q", made.q);
  expect(() => qkNormRope(made.q, made.k, { norm })).toThrow(/an output's memory cannot be taken, got "q"/);
});

test("an input beside an activation leaves both as they are", async () => {
  const [x, wq, k] = [values(5 * 4, 1), values(8 * 4, 2), values(2 * 5 * 4, 3)];
  const norm = values(8, 4);
  const out = await runGraph(
    (g) => {
      const q = matmul(g.input("x", [5, 4]), g.weight("wq", [8, 4]), { heads: 4 });
      const weight = g.input("norm", [2, 4]);
      const made = qkNormRope(q, g.input("k", [2, 5, 4]), { norm: { q: weight, k: weight, eps: 1e-6 } });
      expect(made.q.root === q.root || made.k.role !== "activation").toBe(false);
      return { q, ...{ done_q: made.q, done_k: made.k } };
    },
    { inputs: { x, k, norm }, weights: { wq: { data: wq, shape: [8, 4] } } },
  );
  const projected = matmulReference({ m: 5, n: 8, k: 4 }, { heads: 4 }, { x, w: wq });
  expectClose(out["q"]!, projected, 1e-6, [2, 5, 4]);
  expectClose(out["done_q"]!, qkNormRopeReference({ rows: 5, heads: 2, d: 4 }, projected, norm), 1e-5, [2, 5, 4]);
  expectClose(out["done_k"]!, qkNormRopeReference({ rows: 5, heads: 2, d: 4 }, k, norm), 1e-5, [2, 5, 4]);
});

test("a graph takes memory for one result, from one input of the node", () => {
  const g = new Graph("taken");
  const x = matmul(g.input("x", [3, 8]), g.weight("w", [8, 8]));
  const op = (over: (x: Tensor) => Record<string, OutputSpec>): Op => ({
    name: "odd",
    infer: ({ x: t }: { x: Tensor }) => over(t),
    cost: () => ({ flops: 0, bytes: 0 }),
    lower: () => [],
  });
  const spec = { shape: [3, 8], dtype: "f32" as const };
  const other = silu(x);
  expect(() =>
    g.record(
      op(() => ({ y: { ...spec, over: other } })),
      { x },
      {},
    ),
  ).toThrow(/\[odd\] a result can take the memory of one input that is no other input too, got silu:y f32 \[3, 8\] 0 times in odd/);
  expect(() =>
    g.record(
      op((t) => ({ y: { ...spec, over: t } })),
      { x, z: g.reshape(x, [24]) },
      {},
    ),
  ).toThrow(/2 times in odd/);
  expect(() =>
    g.record(
      op((t) => ({ y: { ...spec, over: t }, z: { ...spec, over: t } })),
      { x },
      {},
    ),
  ).toThrow(/a tensor's memory can be taken once/);
  const foreign = silu(new Graph("another").input("x", [4]));
  expect(() =>
    g.record(
      op(() => ({ y: spec })),
      { x: foreign },
      {},
    ),
  ).toThrow(/\[odd\] inputs must belong to the graph being recorded/);
  expect(() => g.output("y", foreign)).toThrow(/\[graph\] an output must belong to the graph, got "y" of another/);
});

test("q and k of different shapes are refused", async () => {
  await expect(
    runGraph((g) =>
      qkNormRope(g.input("q", [3, 2, 8]), g.input("k", [2, 2, 8]), {
        norm: { q: g.input("nq", [2, 8]), k: g.input("nk", [2, 8]), eps: 0 },
      }),
    ),
  ).rejects.toThrow(/\[qk_norm_rope\] q and k must be \[N, R, D\] of one dtype/);
});
