import { describe, expect, test } from "vitest";
import { matmulNnReference } from "../../src/check/sweep/cases/matmul_nn.ts";
import { Graph } from "../../src/graph/graph.ts";
import { compile } from "../../src/plan/compile.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { matmulNn } from "../../src/ops/matmul_nn.ts";
import { expectClose, toHalf, values } from "../support/compare.ts";
import { limitedGpu, runGraph, testGpu } from "../support/gpu.ts";

describe.each([{ kind: "software" as const }, { kind: "hardware" as const }])("$kind kernels", ({ kind }) => {
  // Inputs staged 16, 8 and 4 at a time; tails of rows and columns; windows of rows and of inputs.
  test.each([
    [1, 4, 4, {}],
    [67, 68, 36, {}],
    [67, 48, 68, {}],
    [19, 24, 132, {}],
    [130, 544, 68, { maxBindingBytes: 144 * 1024, maxGrid: 17, immediates: false }],
  ] as const)("%i × %i × %i, of a weight that the other product reads too", async (m, n, k, limits) => {
    await using gpu = await limitedGpu({ kind, ...limits });
    const [x, u, w] = [values(m * n, 1), values(m * k, 2), values(n * k, 3)];
    const out = await runGraph(
      (g) => {
        const weight = g.weight("w", [n, k]);
        return { there: matmul(g.input("u", [m, k]), weight), y: matmulNn(g.input("x", [m, n]), weight) };
      },
      { gpu, weights: { w: { data: w, shape: [n, k] } }, inputs: { x, u } },
    );
    expectClose(out["y"]!, matmulNnReference({ m, n, k }, { x, w }), 1e-5, [m, k]);
  });

  test("in f16, in windows of inputs", async ({ skip }) => {
    skip(!(await testGpu()).caps.f16, "needs an adapter with shader-f16");
    const [m, n, k] = [67, 544, 80];
    await using gpu = await limitedGpu({ kind, maxBindingBytes: 76 * 1024 });
    const [x, w] = [values(m * n, 1), values(n * k, 3)];
    const out = await runGraph((g) => ({ y: matmulNn(g.input("x", [m, n], "f16"), g.weight("w", [n, k]), "f16") }), {
      gpu,
      weightType: "f16",
      weights: { w: { data: w, shape: [n, k] } },
      inputs: { x: toHalf(x) },
    });
    expectClose(out["y"]!, matmulNnReference({ m, n, k }, { x, w }), 5e-3, [m, k]);
  });
});

test("a weight that both products read is on the device once, whichever kernels they take", async () => {
  const { caps } = await testGpu();
  const graph = new Graph("both", () => "f16");
  const w = graph.weight("w", [64, 96]);
  graph.output("there", matmul(graph.input("u", [32, 96], "f16"), w));
  graph.output("back", matmulNn(graph.input("x", [32, 64], "f16"), w));
  const matrices = { ...caps, kind: "hardware" as const, subgroups: { min: 32, max: 32 }, subgroupMatrices: [{ m: 16, n: 16, k: 16 }] };
  for (const [adapter, layout] of [
    [caps, "panel"],
    [{ ...caps, kind: "hardware" as const, subgroupMatrices: [] }, "panel"],
    [matrices, "row"],
  ] as const) {
    const plan = compile(graph, adapter);
    expect([...plan.weights.values()].map(({ packing }) => packing)).toEqual([layout]);
    // A table of measurements may take another kernel, but none that reads another layout.
    expect(plan.choices[1]!.candidates.some((label) => label.startsWith("subgroup_matrix"))).toBe(layout === "row");
  }
});

test("shapes that do not fit are refused with both named", () => {
  const graph = new Graph("refused");
  expect(() => matmulNn(graph.input("x", [2, 8]), graph.weight("w", [12, 8]))).toThrow(
    /\[matmul_nn\] x must be f32 or f16 \[..., N\] and w \[N, K\].*got x f32 \[2, 8\] and w f32 \[12, 8\]/,
  );
});
