import { describe, expect, test } from "vitest";
import { matmulTnReference } from "../../src/check/sweep/cases/matmul_tn.ts";
import { Graph } from "../../src/graph/graph.ts";
import { matmulTn } from "../../src/ops/matmul_tn.ts";
import { padColumns } from "../../src/ops/pad_columns.ts";
import { expectClose, toHalf, values } from "../support/compare.ts";
import { limitedGpu, runGraph, testGpu } from "../support/gpu.ts";

describe.each([{ kind: "software" as const }, { kind: "hardware" as const }])("$kind kernels", ({ kind }) => {
  // Every height of a tile, the narrow operand on either side, columns that only pad, splits of the tokens, windows.
  test.each([
    [1, 1, 1, {}],
    [5, 7, 29, {}],
    [67, 68, 48, {}],
    [299, 148, 20, {}],
    [771, 13, 150, {}],
    [601, 131, 132, {}],
    [515, 600, 35, { maxBindingBytes: 76 * 1024, maxGrid: 31, immediates: false }],
    [515, 132, 68, { maxBindingBytes: 48 * 1024, maxGrid: 17, immediates: false }],
  ] as const)("over %i tokens, %i × %i, the same bytes twice", async (m, p, q, limits) => {
    await using gpu = await limitedGpu({ kind, ...limits });
    const [a, b] = [values(m * p, 1), values(m * q, 2)];
    const run = () =>
      runGraph((g) => ({ y: matmulTn(padColumns(g.input("a", [m, p])), padColumns(g.input("b", [m, q])), [p, q]) }), {
        gpu,
        inputs: { a, b },
      });
    const { y } = await run();
    expectClose(y!, matmulTnReference({ m, p, q }, { a, b }), 1e-5, [p, q]);
    expect((await run())["y"]).toEqual(y);
  });

  test("in f16", async ({ skip }) => {
    skip(!(await testGpu()).caps.f16, "needs an adapter with shader-f16");
    const [m, p, q] = [331, 64, 136];
    await using gpu = await limitedGpu({ kind });
    const [a, b] = [values(m * p, 1), values(m * q, 2)];
    const out = await runGraph((g) => ({ y: matmulTn(g.input("a", [m, p], "f16"), g.input("b", [m, q], "f16")) }), {
      gpu,
      inputs: { a: toHalf(a), b: toHalf(b) },
    });
    expectClose(out["y"]!, matmulTnReference({ m, p, q }, { a, b }), 5e-3, [p, q]);
  });
});

test("kernels for 4 lanes are as right on an adapter of more", async ({ skip }) => {
  const { caps } = await testGpu();
  skip(caps.subgroups === null || caps.subgroups.min < 4, "needs an adapter with subgroups of 4 lanes");
  await using gpu = await limitedGpu({ kind: "software", subgroups: { min: 4, max: caps.subgroups!.max } });
  for (const [m, p, q] of [
    [3, 20, 12],
    [299, 68, 36],
  ] as const) {
    const [a, b] = [values(m * p, 1), values(m * q, 2)];
    const out = await runGraph((g) => ({ y: matmulTn(g.input("a", [m, p]), g.input("b", [m, q])) }), { gpu, inputs: { a, b } });
    expectClose(out["y"]!, matmulTnReference({ m, p, q }, { a, b }), 1e-5, [p, q]);
  }
});

test("operands of different tokens are refused with both named", () => {
  const graph = new Graph("refused");
  expect(() => matmulTn(graph.input("a", [3, 8]), graph.input("b", [4, 8]))).toThrow(
    /\[matmul_tn\] a \[..., P\] and b \[..., Q\] must be f32 or f16 of as many tokens.*got a f32 \[3, 8\] and b f32 \[4, 8\] for \[8, 8\]/,
  );
});
