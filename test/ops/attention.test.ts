import { describe, expect, test } from "vitest";
import { f16ToNumber } from "../../src/base/half.ts";
import { attention, batchSegments } from "../../src/ops/attention.ts";
import { attentionCases, attentionReference } from "../../src/check/sweep/cases/attention.ts";
import { expectClose, toHalf, values } from "../support/compare.ts";
import { gradientTests } from "../support/gradients.ts";
import { limitedGpu, runGraph, testGpu } from "../support/gpu.ts";

// No gradient goes through a bias or a log-sum-exp; of one key it is zero, and of scores of ±1000 known to 1e-4 in f32; kernels for heads
// of 128 take a minute to compile on lavapipe. The gradient's own list has such cases.
gradientTests(attentionCases, { cases: (c) => !/bias|log-sum-exp|1000|^1 heads × 1 |128/.test(c.name) });

const cases = [
  { heads: 1, rows: 1, d: 32, batch: 1 },
  { heads: 2, rows: 19, d: 64, batch: 2 },
  { heads: 3, rows: 67, d: 40, batch: 1 },
  { heads: 1, rows: 35, d: 128, batch: 2 },
  { heads: 2, rows: 130, d: 64, batch: 1 },
  { heads: 2, rows: 33, d: 36, batch: 3 },
];
const kinds = ["software", "hardware"] as const;

describe.each(kinds)("attention, %s kernels", (kind) => {
  test.each(cases)("$heads heads × $rows × $d, batch $batch", async ({ heads, rows, d, batch }) => {
    await using gpu = await limitedGpu({ kind });
    const r = rows * batch;
    const [q, k, v] = [values(heads * r * d, 1, 4), values(heads * r * d, 2, 4), values(heads * r * d, 3)];
    const segments = batchSegments(batch, rows);
    const shape = [heads, r, d];
    const out = await runGraph((g) => ({ y: attention(g.input("q", shape), g.input("k", shape), g.input("v", shape), { segments }) }), {
      gpu,
      inputs: { q, k, v },
    });
    expectClose(out["y"]!, attentionReference({ heads, rows: r, d, segments }, { q, k, v }), 1e-5, [r, heads * d]);
  });

  test("f16 storage, the same bytes again", async ({ skip }) => {
    skip(!(await testGpu()).caps.f16, "needs an adapter with shader-f16");
    await using gpu = await limitedGpu({ kind });
    const [heads, rows, d] = [2, 67, 40];
    // Multiples of 2^-6 below 4 are exact in f16, so that only the result is rounded.
    const [q, k, v] = [1, 2, 3].map((seed) => values(heads * rows * d, seed, 3.9).map((x) => Math.round(x * 64) / 64)) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    const shape = [heads, rows, d];
    const run = () =>
      runGraph(
        (g) => ({ y: attention(g.input("q", shape, "f16"), g.input("k", shape, "f16"), g.input("v", shape, "f16"), { dtype: "f16" }) }),
        { gpu, inputs: { q: toHalf(q), k: toHalf(k), v: toHalf(v) } },
      );
    const once = (await run())["y"]!;
    expectClose(once, attentionReference({ heads, rows, d }, { q, k, v }), 1e-3, [rows, heads * d]);
    expect((await run())["y"]).toEqual(once);
  });

  test("packed segments of different lengths, cross attention, scores of ±1000, narrow bindings", async () => {
    await using gpu = await limitedGpu({ kind, maxBindingBytes: 32768, maxGrid: 5 });
    const [heads, rq, rk, d] = [4, 70, 50, 32];
    const [q, k, v] = [values(heads * rq * d, 1, 100), values(heads * rk * d, 2, 10), values(heads * rk * d, 3)];
    const segments = [
      { first: 0, count: 5, keyFirst: 0, keyCount: 33 },
      { first: 5, count: 64, keyFirst: 33, keyCount: 17 },
      { first: 69, count: 1, keyFirst: 7, keyCount: 1 },
    ];
    const out = await runGraph(
      (g) => ({
        y: attention(g.input("q", [heads, rq, d]), g.input("k", [heads, rk, d]), g.input("v", [heads, rk, d]), { segments, scale: 0.5 }),
      }),
      { gpu, inputs: { q, k, v } },
    );
    expectClose(out["y"]!, attentionReference({ heads, rows: rq, d, keys: rk, segments, scale: 0.5 }, { q, k, v }), 1e-5, [rq, heads * d]);
  });

  test.each([
    [3, 44, 57, 16],
    [2, 16, 3, 12],
    [5, 33, 21, 112],
  ])("cross attention, %i heads × %i over %i × %i: heads of k that begin where no binding may", async (heads, rq, rk, d) => {
    await using gpu = await limitedGpu({ kind });
    const [q, k, v] = [values(heads * rq * d, 1, 2), values(heads * rk * d, 2, 2), values(heads * rk * d, 3)];
    const out = await runGraph(
      (g) => ({ y: attention(g.input("q", [heads, rq, d]), g.input("k", [heads, rk, d]), g.input("v", [heads, rk, d])) }),
      { gpu, inputs: { q, k, v } },
    );
    expectClose(out["y"]!, attentionReference({ heads, rows: rq, d, keys: rk }, { q, k, v }), 1e-5, [rq, heads * d]);
  });

  test.each(cases.filter((c) => c.batch > 1))("bias, $heads heads × $rows × $d, batch $batch", async ({ heads, rows, d, batch }) => {
    await using gpu = await limitedGpu({ kind });
    const r = rows * batch;
    const [q, k, v, bias] = [
      values(heads * r * d, 1),
      values(heads * r * d, 2),
      values(heads * r * d, 3),
      values(heads * (2 * rows - 1), 4, 30),
    ];
    const segments = batchSegments(batch, rows);
    const shape = [heads, r, d];
    const out = await runGraph(
      (g) => ({
        y: attention(g.input("q", shape), g.input("k", shape), g.input("v", shape), {
          segments,
          scale: 1,
          bias: g.input("bias", [heads, 2 * rows - 1]),
        }),
      }),
      { gpu, inputs: { q, k, v, bias } },
    );
    expectClose(out["y"]!, attentionReference({ heads, rows: r, d, segments, scale: 1 }, { q, k, v, bias }), 1e-5, [r, heads * d]);
  });

  test("bias, packed segments of different lengths in any order, cross attention, narrow bindings and grids, no immediates", async () => {
    await using gpu = await limitedGpu({ kind, maxBindingBytes: 32768, maxGrid: 5, immediates: false });
    const [heads, rq, rk, d] = [4, 70, 50, 32];
    const segments = [
      { first: 5, count: 64, keyFirst: 33, keyCount: 17 },
      { first: 0, count: 5, keyFirst: 0, keyCount: 33 },
      { first: 69, count: 1, keyFirst: 7, keyCount: 1 },
    ];
    const span = 2 * 64 - 1;
    const [q, k, v, bias] = [values(heads * rq * d, 1), values(heads * rk * d, 2), values(heads * rk * d, 3), values(heads * span, 4, 6)];
    const out = await runGraph(
      (g) => ({
        y: attention(g.input("q", [heads, rq, d]), g.input("k", [heads, rk, d]), g.input("v", [heads, rk, d]), {
          segments,
          scale: 0.5,
          bias: g.input("bias", [heads, span]),
        }),
      }),
      { gpu, inputs: { q, k, v, bias } },
    );
    expectClose(out["y"]!, attentionReference({ heads, rows: rq, d, keys: rk, segments, scale: 0.5 }, { q, k, v, bias }), 2e-6, [
      rq,
      heads * d,
    ]);
  });

  test("bias, queries in windows that part a segment", async () => {
    await using gpu = await limitedGpu({ kind, maxBindingBytes: 8192 });
    // 32 rows of y fill a binding, and a head of q, k or v another.
    const [heads, rows, d, span] = [2, 62, 32, 81];
    const segments = [
      { first: 0, count: 21, keyFirst: 21, keyCount: 41 },
      { first: 21, count: 41, keyFirst: 0, keyCount: 21 },
    ];
    const [q, k, v, bias] = [
      values(heads * rows * d, 1),
      values(heads * rows * d, 2),
      values(heads * rows * d, 3),
      values(heads * span, 4, 6),
    ];
    const shape = [heads, rows, d];
    const out = await runGraph(
      (g) => ({
        y: attention(g.input("q", shape), g.input("k", shape), g.input("v", shape), { segments, bias: g.input("bias", [heads, span]) }),
      }),
      { gpu, inputs: { q, k, v, bias } },
    );
    expectClose(out["y"]!, attentionReference({ heads, rows, d, segments, scale: d ** -0.5 }, { q, k, v, bias }), 2e-6, [rows, heads * d]);
  });

  test("bias, f16 storage", async ({ skip }) => {
    skip(!(await testGpu()).caps.f16, "needs an adapter with shader-f16");
    await using gpu = await limitedGpu({ kind });
    const [heads, rows, d] = [2, 67, 40];
    // Multiples of 2^-6 below 1 are exact in f16, so that only the result is rounded.
    const [q, k, v] = [1, 2, 3].map((seed) => values(heads * rows * d, seed).map((x) => Math.round(x * 64) / 64)) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    const bias = values(heads * (2 * rows - 1), 4, 30);
    const shape = [heads, rows, d];
    const out = await runGraph(
      (g) => ({
        y: attention(g.input("q", shape, "f16"), g.input("k", shape, "f16"), g.input("v", shape, "f16"), {
          dtype: "f16",
          scale: 1,
          bias: g.input("bias", [heads, 2 * rows - 1]),
        }),
      }),
      { gpu, inputs: { q: toHalf(q), k: toHalf(k), v: toHalf(v), bias } },
    );
    expectClose(out["y"]!, attentionReference({ heads, rows, d, scale: 1 }, { q, k, v, bias }), 1e-3, [rows, heads * d]);
  });
});

test("kernels for 4 lanes are as right on an adapter of more", async ({ skip }) => {
  const { caps } = await testGpu();
  skip(caps.subgroups === null || caps.subgroups.max <= 4, "needs an adapter with subgroups of more than 4 lanes");
  await using gpu = await limitedGpu({ kind: "software", subgroups: { min: 4, max: caps.subgroups!.max } });
  const [heads, rows, d] = [3, 67, 36];
  const [q, k, v] = [values(heads * rows * d, 1, 4), values(heads * rows * d, 2, 4), values(heads * rows * d, 3)];
  const segments = [
    { first: 0, count: 30, keyFirst: 37, keyCount: 30 },
    { first: 30, count: 37, keyFirst: 0, keyCount: 37 },
  ];
  const shape = [heads, rows, d];
  const out = await runGraph((g) => ({ y: attention(g.input("q", shape), g.input("k", shape), g.input("v", shape), { segments }) }), {
    gpu,
    inputs: { q, k, v },
  });
  expectClose(out["y"]!, attentionReference({ heads, rows, d, segments }, { q, k, v }), 1e-5, [rows, heads * d]);
  const bias = values(heads * 73, 4, 6);
  const biased = await runGraph(
    (g) => ({
      y: attention(g.input("q", shape), g.input("k", shape), g.input("v", shape), { segments, bias: g.input("bias", [heads, 73]) }),
    }),
    { gpu, inputs: { q, k, v, bias } },
  );
  expectClose(biased["y"]!, attentionReference({ heads, rows, d, segments, scale: d ** -0.5 }, { q, k, v, bias }), 2e-6, [rows, heads * d]);
});

describe("attention by subgroup matrices", () => {
  const needs = "needs an adapter with subgroup matrices (npm run test:subgroup-matrix)";
  const rounded = (x: Float32Array): Float32Array => Float32Array.from(toHalf(x), f16ToNumber);

  test.for(cases.filter(({ d }) => d % 8 === 0))("$heads heads × $rows × $d, batch $batch", async ({ heads, rows, d, batch }, { skip }) => {
    await using gpu = await limitedGpu({ kind: "hardware" });
    skip(gpu.caps.subgroupMatrices.length === 0, needs);
    const r = rows * batch;
    const [q, k, v] = [rounded(values(heads * r * d, 1, 4)), rounded(values(heads * r * d, 2, 4)), rounded(values(heads * r * d, 3))];
    const segments = batchSegments(batch, rows);
    const shape = [heads, r, d];
    const out = await runGraph(
      (g) => ({ y: attention(g.input("q", shape, "f16"), g.input("k", shape, "f16"), g.input("v", shape, "f16"), { segments }) }),
      { gpu, inputs: { q: toHalf(q), k: toHalf(k), v: toHalf(v) } },
    );
    expectClose(out["y"]!, attentionReference({ heads, rows: r, d, segments }, { q, k, v }), 5e-3, [r, heads * d]);
  });

  test.for(cases.filter((c) => c.d % 8 === 0 && c.batch > 1))(
    "bias, $heads heads × $rows × $d, batch $batch",
    async ({ heads, rows, d, batch }, { skip }) => {
      await using gpu = await limitedGpu({ kind: "hardware" });
      skip(gpu.caps.subgroupMatrices.length === 0, needs);
      const r = rows * batch;
      const [q, k, v] = [rounded(values(heads * r * d, 1)), rounded(values(heads * r * d, 2)), rounded(values(heads * r * d, 3))];
      const bias = values(heads * (2 * rows - 1), 4, 30);
      const segments = batchSegments(batch, rows);
      const shape = [heads, r, d];
      const out = await runGraph(
        (g) => ({
          y: attention(g.input("q", shape, "f16"), g.input("k", shape, "f16"), g.input("v", shape, "f16"), {
            segments,
            scale: 1,
            bias: g.input("bias", [heads, 2 * rows - 1]),
          }),
        }),
        { gpu, inputs: { q: toHalf(q), k: toHalf(k), v: toHalf(v), bias } },
      );
      expectClose(out["y"]!, attentionReference({ heads, rows: r, d, segments, scale: 1 }, { q, k, v, bias }), 5e-3, [r, heads * d]);
    },
  );

  test("a maximum that rises again and again, falls, and stays, in segments of different lengths", async ({ skip }) => {
    await using gpu = await limitedGpu({ kind: "hardware", maxGrid: 5 });
    skip(gpu.caps.subgroupMatrices.length === 0, needs);
    const [heads, rq, rk, d] = [2, 70, 333, 32];
    const [q, k, v] = [values(heads * rq * d, 1, 2), values(heads * rk * d, 2, 2), rounded(values(heads * rk * d, 3))];
    // Scores follow the key's place: upwards in the first segment, downwards in the second, by hundreds.
    for (let h = 0; h < heads; h++) {
      for (let i = 0; i < rq; i++) q[(h * rq + i) * d] = 8;
      for (let j = 0; j < rk; j++) k[(h * rk + j) * d] = j < 300 ? j : 300 - 8 * j;
    }
    const [qh, kh] = [rounded(q), rounded(k)];
    const segments = [
      { first: 0, count: 35, keyFirst: 0, keyCount: 290 },
      { first: 35, count: 34, keyFirst: 300, keyCount: 33 },
      { first: 69, count: 1, keyFirst: 7, keyCount: 1 },
    ];
    const out = await runGraph(
      (g) => ({
        y: attention(g.input("q", [heads, rq, d], "f16"), g.input("k", [heads, rk, d], "f16"), g.input("v", [heads, rk, d], "f16"), {
          segments,
          scale: 0.3,
        }),
      }),
      { gpu, inputs: { q: toHalf(qh), k: toHalf(kh), v: toHalf(v) } },
    );
    expectClose(out["y"]!, attentionReference({ heads, rows: rq, d, keys: rk, segments, scale: 0.3 }, { q: qh, k: kh, v }), 5e-3, [
      rq,
      heads * d,
    ]);
  });
});

test("the widest heads fit the workgroup memory that WebGPU promises", async () => {
  await using gpu = await limitedGpu({ kind: "hardware", maxWorkgroupBytes: 16384 });
  const [rows, d] = [21, 128];
  const [q, k, v] = [values(rows * d, 1, 2), values(rows * d, 2, 2), values(rows * d, 3)];
  const shape = [1, rows, d];
  const out = await runGraph((g) => ({ y: attention(g.input("q", shape), g.input("k", shape), g.input("v", shape)) }), {
    gpu,
    inputs: { q, k, v },
  });
  expectClose(out["y"]!, attentionReference({ heads: 1, rows, d }, { q, k, v }), 1e-5, [rows, d]);
});

test("shapes that do not fit are refused", async () => {
  await expect(
    runGraph((g) => ({ y: attention(g.input("q", [1, 4, 32]), g.input("k", [1, 4, 32]), g.input("v", [1, 5, 32])) })),
  ).rejects.toThrow(/\[attention\] q, k, v must be/);
  await expect(
    runGraph((g) => ({ y: attention(g.input("q", [1, 4, 132]), g.input("k", [1, 4, 132]), g.input("v", [1, 4, 132])) })),
  ).rejects.toThrow(/head width/);
  const biased = (span: number, dtype: "f32" | "f16" = "f32") =>
    runGraph((g) => ({
      y: attention(g.input("q", [2, 9, 32]), g.input("k", [2, 12, 32]), g.input("v", [2, 12, 32]), {
        segments: batchSegments(3, 3, 4),
        bias: g.input("b", [2, span], dtype),
      }),
    }));
  await expect(biased(5)).rejects.toThrow(
    "[attention] the bias must be f32 [2, 7] for 2 heads and segments of up to 4 positions, " +
      "got b f32 [2, 5]; make it with relativeBias for that length",
  );
  await expect(biased(7, "f16")).rejects.toThrow("got b f16 [2, 7]");
  expect((await testGpu()).lost).toBeNull();
});
