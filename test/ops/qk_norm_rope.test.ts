import { expect, test } from "vitest";
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
