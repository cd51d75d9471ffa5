import { expect, test, describe } from "vitest";
import { Graph } from "../../src/graph/graph.ts";
import { matmul, type MatmulOptions } from "../../src/ops/matmul.ts";
import { matmulReference } from "../../src/check/sweep/cases/matmul.ts";
import { expectClose, toHalf, values } from "../support/compare.ts";
import { limitedGpu, runGraph, testGpu } from "../support/gpu.ts";

const cases = [
  { m: 1, n: 4, k: 4 },
  { m: 3, n: 20, k: 12 },
  { m: 67, n: 68, k: 36 },
  { m: 131, n: 132, k: 260 },
  { m: 2, n: 1152, k: 256 },
];

describe.each(cases)("matmul $m × $n × $k", ({ m, n, k }) => {
  const x = values(m * k, 1),
    w = values(n * k, 2),
    bias = values(n, 3),
    residual = values(m * n, 4),
    table = values(3 * n, 5);
  const rows = Uint32Array.from({ length: m }, (_, i) => i % 3);
  const weights = { w: { data: w, shape: [n, k] }, b: { data: bias, shape: [n] } };
  const sizes = { m, n, k };

  test("with a bias and GELU", async () => {
    const out = await runGraph(
      (g) => ({ y: matmul(g.input("x", [m, k]), g.weight("w", [n, k]), { bias: g.weight("b", [n]), activation: "gelu" }) }),
      { weights, inputs: { x } },
    );
    expectClose(out["y"]!, matmulReference(sizes, { activation: "gelu" }, { x, w, bias }), 1e-5, [m, n]);
  });

  test("gated, on a residual", async () => {
    const out = await runGraph(
      (g) => ({
        y: matmul(g.input("x", [m, k]), g.weight("w", [n, k]), {
          residual: g.input("r", [m, n]),
          gate: { table: g.input("t", [3, n]), rows: g.constant("rows", rows) },
        }),
      }),
      { weights, inputs: { x, r: residual, t: table } },
    );
    expectClose(out["y"]!, matmulReference(sizes, {}, { x, w, residual, gate: table }), 1e-5, [m, n]);
  });

  test("f16 storage", async ({ skip }) => {
    skip(!(await testGpu()).caps.f16, "needs an adapter with shader-f16");
    const out = await runGraph((g) => ({ y: matmul(g.input("x", [m, k]), g.weight("w", [n, k]), { dtype: "f16" }) }), {
      weights,
      weightType: "f16",
      inputs: { x },
    });
    expectClose(out["y"]!, matmulReference(sizes, {}, { x, w }), 5e-3, [m, n]);
  });
});

describe.each([{ kind: "software" as const }, { kind: "hardware" as const }])("$kind kernels", ({ kind }) => {
  // Heads that are no panels of 16 columns, heads wider and narrower than a tile; windows of rows, of weights and of heads.
  test.each([
    [5, 60, 48, 12, {}],
    [67, 140, 36, 20, {}],
    [67, 192, 64, 64, {}],
    [520, 192, 64, 24, { maxBindingBytes: 112 * 1024, maxGrid: 17, immediates: false }],
  ] as const)("%i × %i × %i, by heads of %i", async (m, n, k, d, limits) => {
    await using gpu = await limitedGpu({ kind, ...limits });
    const x = values(m * k, 1),
      w = values(n * k, 2),
      bias = values(n, 3),
      addend = values(m * n, 4);
    const out = await runGraph(
      (g) => {
        const [input, weight, options] = [g.input("x", [m, k]), g.weight("w", [n, k]), { bias: g.weight("b", [n]), heads: d }];
        return { y: matmul(input, weight, options), added: matmul(input, weight, { ...options, residual: g.input("a", [m, n]) }) };
      },
      { gpu, weights: { w: { data: w, shape: [n, k] }, b: { data: bias, shape: [n] } }, inputs: { x, a: addend } },
    );
    expectClose(out["y"]!, matmulReference({ m, n, k }, { heads: d }, { x, w, bias }), 1e-5, [n / d, m, d]);
    expectClose(out["added"]!, matmulReference({ m, n, k }, { heads: d }, { x, w, bias, residual: addend }), 1e-5, [n / d, m, d]);
  });

  test.each([
    [67, 68, 36, {}],
    [520, 192, 64, { maxBindingBytes: 64 * 1024, maxGrid: 17, immediates: false }],
  ] as const)("%i × %i × %i, added in place, twice", async (m, n, k, limits) => {
    await using gpu = await limitedGpu({ kind, ...limits });
    const x = values(m * k, 1),
      w = values(n * k, 2),
      bias = values(n, 3),
      table = values(3 * n, 5);
    const rows = Uint32Array.from({ length: m }, (_, i) => i % 3);
    const out = await runGraph(
      (g) => {
        const [input, weight] = [g.input("x", [m, k]), g.weight("w", [n, k])];
        const first = matmul(input, weight);
        const second = matmul(input, weight, { residual: first, bias: g.weight("b", [n]) });
        const third = matmul(input, weight, {
          residual: second,
          gate: { table: g.input("t", [3, n]), rows: g.constant("rows", rows) },
        });
        return { y: third };
      },
      { gpu, weights: { w: { data: w, shape: [n, k] }, b: { data: bias, shape: [n] } }, inputs: { x, t: table } },
    );
    const want = (values: Record<string, Float32Array>) => Float32Array.from(matmulReference({ m, n, k }, {}, { x, w, ...values }));
    expectClose(out["y"]!, want({ residual: want({ residual: want({}), bias }), gate: table }), 1e-5, [m, n]);
  });
});

test("a graph's input is not added to in place", async () => {
  const [x, w, r] = [values(3 * 8, 1), values(12 * 8, 2), values(3 * 12, 3)];
  const out = await runGraph(
    (g) => {
      const residual = g.input("r", [3, 12]);
      const y = matmul(g.input("x", [3, 8]), g.weight("w", [12, 8]), { residual });
      return { y, again: matmul(g.inputs.get("x")!, g.weight("w", [12, 8]), { residual }) };
    },
    { weights: { w: { data: w, shape: [12, 8] } }, inputs: { x, r } },
  );
  expectClose(out["y"]!, matmulReference({ m: 3, n: 12, k: 8 }, {}, { x, w, residual: r }), 1e-5, [3, 12]);
  expect(out["again"]).toEqual(out["y"]);
});

test("layouts that cannot be are refused", () => {
  const failing = (options: MatmulOptions) => () => {
    const g = new Graph("refused");
    matmul(g.input("x", [3, 8]), g.weight("w", [12, 8]), options);
  };
  expect(failing({ heads: 8 })).toThrow(
    "[matmul] a head's width must be a multiple of 4 that divides the 12 columns, got 8; lay the result out by row",
  );
  expect(failing({ heads: 6 })).toThrow("got 6; lay the result out by row");
});

test.each([{ kind: "software" as const }, { kind: "hardware" as const }])(
  "windows of rows and of weights, and uniforms, change nothing: $kind kernels",
  async ({ kind }) => {
    const [m, n, k] = [520, 196, 64];
    const x = values(m * k, 1),
      w = values(n * k, 2),
      bias = values(n, 3);
    await using gpu = await limitedGpu({ maxBindingBytes: 64 * 1024, immediates: false, kind, maxGrid: 17 });
    const out = await runGraph((g) => ({ y: matmul(g.input("x", [m, k]), g.weight("w", [n, k]), { bias: g.weight("b", [n]) }) }), {
      gpu,
      weights: { w: { data: w, shape: [n, k] }, b: { data: bias, shape: [n] } },
      inputs: { x },
    });
    expectClose(out["y"]!, matmulReference({ m, n, k }, {}, { x, w, bias }), 1e-5, [m, n]);
  },
);

test.for(["f32", "f16"] as const)("kernels for 4 lanes are as right on an adapter of more, %s", async (weightType, { skip }) => {
  const { caps } = await testGpu();
  skip(caps.subgroups === null || caps.subgroups.min < 4, "needs an adapter with subgroups of 4 lanes");
  skip(weightType === "f16" && !caps.f16, "needs an adapter with shader-f16");
  await using gpu = await limitedGpu({ kind: "software", subgroups: { min: 4, max: caps.subgroups!.max } });
  for (const [m, n, k] of [
    [3, 20, 12],
    [67, 68, 36],
  ] as const) {
    const x = values(m * k, 1),
      w = values(n * k, 2);
    const run = () =>
      runGraph((g) => ({ y: matmul(g.input("x", [m, k]), g.weight("w", [n, k])) }), {
        gpu,
        weights: { w: { data: w, shape: [n, k] } },
        weightType,
        inputs: { x },
      });
    const once = (await run())["y"]!;
    expectClose(once, matmulReference({ m, n, k }, {}, { x, w }), weightType === "f16" ? 5e-3 : 1e-5, [m, n]);
    expect((await run())["y"]).toEqual(once);
  }
});

describe("matmul by subgroup matrices", () => {
  // Tiles of 4 × 4, 2 × 2 and 1 × 1 matrices a subgroup; inputs staged 32, 16 and 8 at a time; tails everywhere.
  test.for([
    [1, 4, 8],
    [3, 20, 24],
    [67, 68, 48],
    [131, 132, 264],
    [259, 260, 32],
    [523, 516, 64],
  ] as const)("%i × %i × %i", async ([m, n, k], { skip }) => {
    await using gpu = await limitedGpu({ kind: "hardware" });
    skip(gpu.caps.subgroupMatrices.length === 0, "needs an adapter with subgroup matrices (npm run test:subgroup-matrix)");
    const x = values(m * k, 1),
      w = values(n * k, 2),
      bias = values(n, 3),
      other = values(m * n, 4),
      table = values(3 * n, 5);
    const rows = Uint32Array.from({ length: m }, (_, i) => i % 3);
    const out = await runGraph(
      (g) => {
        const [input, weight, b, r] = [g.input("x", [m, k], "f16"), g.weight("w", [n, k]), g.weight("b", [n]), g.input("r", [m, n])];
        const gate = { table: g.input("t", [3, n]), rows: g.constant("rows", rows) };
        return {
          plain: matmul(input, weight, { dtype: "f16" }),
          gelu: matmul(input, weight, { bias: b, activation: "gelu", dtype: "f16" }),
          silu: matmul(input, weight, { bias: b, addend: r, activation: "silu" }),
          gated: matmul(input, weight, { bias: b, residual: r, gate }),
        };
      },
      {
        gpu,
        weightType: "f16",
        weights: { w: { data: w, shape: [n, k] }, b: { data: bias, shape: [n] } },
        inputs: { x: toHalf(x), r: other, t: table },
      },
    );
    const want = (activation: object, values: object) => matmulReference({ m, n, k }, activation, { x, w, ...values });
    expectClose(out["plain"]!, want({}, {}), 5e-3, [m, n]);
    expectClose(out["gelu"]!, want({ activation: "gelu" }, { bias }), 5e-3, [m, n]);
    expectClose(out["silu"]!, want({ activation: "silu" }, { bias, addend: other }), 5e-3, [m, n]);
    expectClose(out["gated"]!, want({}, { bias, residual: other, gate: table }), 5e-3, [m, n]);
  });

  test("windows of rows and of weights change nothing", async ({ skip }) => {
    const [m, n, k] = [520, 196, 64];
    const x = values(m * k, 1),
      w = values(n * k, 2),
      bias = values(n, 3);
    await using gpu = await limitedGpu({ kind: "hardware", maxBindingBytes: 16 * 1024, immediates: false, maxGrid: 17 });
    skip(gpu.caps.subgroupMatrices.length === 0, "needs an adapter with subgroup matrices (npm run test:subgroup-matrix)");
    const out = await runGraph(
      (g) => ({ y: matmul(g.input("x", [m, k], "f16"), g.weight("w", [n, k]), { bias: g.weight("b", [n]), dtype: "f16" }) }),
      { gpu, weightType: "f16", weights: { w: { data: w, shape: [n, k] }, b: { data: bias, shape: [n] } }, inputs: { x: toHalf(x) } },
    );
    expectClose(out["y"]!, matmulReference({ m, n, k }, {}, { x, w, bias }), 5e-3, [m, n]);
  });
});

test("the large tile of the kernel for GPUs, with tails", async () => {
  const [m, n, k] = [1171, 1348, 48];
  const x = values(m * k, 1),
    w = values(n * k, 2),
    residual = values(m * n, 3);
  await using gpu = await limitedGpu({ kind: "hardware" });
  const out = await runGraph((g) => ({ y: matmul(g.input("x", [m, k]), g.weight("w", [n, k]), { residual: g.input("r", [m, n]) }) }), {
    gpu,
    weights: { w: { data: w, shape: [n, k] } },
    inputs: { x, r: residual },
  });
  expectClose(out["y"]!, matmulReference({ m, n, k }, {}, { x, w, residual }), 1e-5, [m, n]);
});

test("shapes that do not fit are refused with both named", async () => {
  await expect(runGraph((g) => ({ y: matmul(g.input("x", [2, 8]), g.weight("w", [4, 12])) }))).rejects.toThrow(
    /\[matmul\] inner dimensions must match, got x \[2, 8\] f32 and w \[4, 12\] f32/,
  );
});
