import { expect, test } from "vitest";
import { Graph } from "../../src/graph/graph.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { qkNormRope } from "../../src/ops/qk_norm_rope.ts";
import { matmulReference } from "../../src/check/sweep/cases/matmul.ts";
import { qkNormRopeCases, qkNormRopeReference } from "../../src/check/sweep/cases/qk_norm_rope.ts";
import { expectClose, values } from "../support/compare.ts";
import { runGraph } from "../support/gpu.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(qkNormRopeCases);

test("an input beside an activation leaves both as they are", async () => {
  const [x, wq, k] = [values(5 * 4, 1), values(8 * 4, 2), values(2 * 5 * 4, 3)];
  const norm = values(8, 4);
  const out = await runGraph(
    (g) => {
      const q = matmul(g.input("x", [5, 4]), g.weight("wq", [8, 4]), { heads: 4 });
      const weight = g.input("norm", [2, 4]);
      const made = qkNormRope(q, g.input("k", [2, 5, 4]), { norm: { q: weight, k: weight, eps: 1e-6 } });
      return { q, ...{ done_q: made.q, done_k: made.k } };
    },
    { inputs: { x, k, norm }, weights: { wq: { data: wq, shape: [8, 4] } } },
  );
  const projected = matmulReference({ m: 5, n: 8, k: 4 }, { heads: 4 }, { x, w: wq });
  expectClose(out["q"]!, projected, 1e-6, [2, 5, 4]);
  expectClose(out["done_q"]!, qkNormRopeReference({ rows: 5, heads: 2, d: 4 }, projected, norm), 1e-5, [2, 5, 4]);
  expectClose(out["done_k"]!, qkNormRopeReference({ rows: 5, heads: 2, d: 4 }, k, norm), 1e-5, [2, 5, 4]);
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

test("pairs that are halves of a head, and norms of another size, are refused", () => {
  const graph = new Graph("rotation");
  const [q, k] = [graph.input("q", [2, 3, 8]), graph.input("k", [2, 3, 8])];
  const rope = { table: graph.input("table", [3, 8]), position: graph.constant("position", Uint32Array.of(0, 1, 2)) };
  expect(() => qkNormRope(q, k, { rope: { ...rope, pairs: "halves" } })).toThrow(
    /^\[qk_norm_rope\] a head's channels are rotated in interleaved pairs, got pairs "halves"; order the rows of the projections/,
  );
  const norm = graph.input("norm", [2, 8]);
  expect(() => qkNormRope(q, k, { norm: { q: norm, k: norm, eps: 1e-6, kind: "rms_norm" } })).toThrow(
    /head norms must be f32 \[8\], got norm/,
  );
});
