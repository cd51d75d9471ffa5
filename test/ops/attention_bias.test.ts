import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { attentionBias } from "../../src/ops/attention_bias.ts";
import { relativeBias, relativeBuckets } from "../../src/ops/relative_bias.ts";
import { expectClose, values } from "../support/compare.ts";
import { limitedGpu, runGraph, testGpu } from "../support/gpu.ts";

export const cases = [
  { tag: "tiny", batch: 1, length: 1, heads: 1, d: 4 },
  { tag: "odd", batch: 2, length: 13, heads: 3, d: 8 },
  { tag: "odd", batch: 1, length: 67, heads: 2, d: 36 },
  { tag: "odd", batch: 1, length: 35, heads: 2, d: 64 },
  { tag: "odd", batch: 3, length: 9, heads: 1, d: 128 },
  { tag: "odd", batch: 1, length: 150, heads: 1, d: 12 },
  { tag: "model", batch: 1, length: 226, heads: 64, d: 64 },
];

function reference(qkv: Float32Array, bias: Float32Array, batch: number, length: number, heads: number, d: number): Float64Array {
  const inner = heads * d;
  const out = new Float64Array(batch * length * inner);
  const at = (b: number, s: number, part: number, h: number): number => ((b * length + s) * 3 + part) * inner + h * d;
  for (let b = 0; b < batch; b++) for (let h = 0; h < heads; h++) for (let q = 0; q < length; q++) {
    const scores = Array.from({ length }, (_, k) => {
      let sum = bias[h * (2 * length - 1) + k - q + length - 1]!;
      for (let i = 0; i < d; i++) sum += qkv[at(b, q, 0, h) + i]! * qkv[at(b, k, 1, h) + i]!;
      return sum;
    });
    const top = Math.max(...scores);
    const weights = scores.map((s) => Math.exp(s - top));
    const total = weights.reduce((x, y) => x + y);
    for (let k = 0; k < length; k++) for (let i = 0; i < d; i++) out[(b * length + q) * inner + h * d + i]! += (weights[k]! / total) * qkv[at(b, k, 2, h) + i]!;
  }
  return out;
}

// The kernel for GPUs takes a CPU adapter seconds to compile for each head width: it runs some of the cases here.
const runs = [
  { kind: "software" as const, list: cases.filter((c) => c.tag !== "model") },
  { kind: "hardware" as const, list: cases.filter((c) => [4, 36, 128].includes(c.d)) },
];

describe.each(runs)("$kind kernels", ({ kind, list }) => {
  let gpu: Gpu;
  beforeAll(async () => void (gpu = await limitedGpu({ kind })));
  afterAll(() => gpu[Symbol.asyncDispose]());

  test.each(list)("$batch × $length tokens, $heads heads of $d", async ({ batch, length, heads, d }) => {
    const qkv = values(batch * length * 3 * heads * d, 1), bias = values(heads * (2 * length - 1), 2, 2);
    const out = await runGraph((g) => ({ y: attentionBias(g.input("qkv", [batch, length, 3 * heads * d]), g.input("bias", [heads, 2 * length - 1])) }), { gpu, inputs: { qkv, bias } });
    expectClose(out["y"]!, reference(qkv, bias, batch, length, heads, d), 2e-6, [batch, length, heads * d]);
  });

  test("scores of ±1000 decide without overflowing", async () => {
    const [batch, length, heads, d] = [1, 37, 1, 36];
    const qkv = values(batch * length * 3 * heads * d, 3).map((v, i) => (Math.floor(i / 36) % 3 === 2 ? v : v * 13)), bias = values(heads * (2 * length - 1), 2, 900);
    const out = await runGraph((g) => ({ y: attentionBias(g.input("qkv", [batch, length, 3 * heads * d]), g.input("bias", [heads, 2 * length - 1])) }), { gpu, inputs: { qkv, bias } });
    expectClose(out["y"]!, reference(qkv, bias, batch, length, heads, d), 1e-4, [length, d]);
  });

  test("windows of the batch, a folded grid and uniforms change nothing", async () => {
    const [batch, length, heads, d] = [4, 16, 2, 8];
    const qkv = values(batch * length * 3 * heads * d, 1), bias = values(heads * (2 * length - 1), 2);
    await using limited = await limitedGpu({ kind, maxBindingBytes: 4096, maxGrid: 3, immediates: false });
    const out = await runGraph((g) => ({ y: attentionBias(g.input("qkv", [batch, length, 3 * heads * d]), g.input("bias", [heads, 2 * length - 1])) }), { gpu: limited, inputs: { qkv, bias } });
    expectClose(out["y"]!, reference(qkv, bias, batch, length, heads, d), 2e-6, [batch, length, heads * d]);
  });

  test("f16 storage", async ({ skip }) => {
    skip(!(await testGpu()).caps.f16, "needs an adapter with shader-f16");
    const [batch, length, heads, d] = [1, 21, 2, 36];
    // Multiples of 2^-8 below 1 are exact in f16, so that only the result is rounded.
    const qkv = values(batch * length * 3 * heads * d, 1).map((v) => Math.round(v * 256) / 256), bias = values(heads * (2 * length - 1), 2);
    const half = Uint16Array.from(qkv, (v) => toBits(v));
    const out = await runGraph((g) => ({ y: attentionBias(g.input("qkv", [batch, length, 3 * heads * d], "f16"), g.input("bias", [heads, 2 * length - 1]), { dtype: "f16" }) }), { gpu, inputs: { qkv: half, bias } });
    expectClose(out["y"]!, reference(qkv, bias, batch, length, heads, d), 1e-3, [batch, length, heads * d]);
  });
});

/** f16 bits of a multiple of 2^-8 up to 1. */
function toBits(v: number): number {
  const a = Math.abs(v);
  if (a === 0) return 0;
  const exponent = Math.floor(Math.log2(a));
  return (v < 0 ? 0x8000 : 0) | ((exponent + 15) << 10) | ((a / 2 ** exponent - 1) * 1024);
}

test("buckets change at the distances that transformers 5.23 gives", () => {
  const borders = (buckets: number, max: number, sign: 1 | -1): [number, number][] => {
    const all = relativeBuckets(700, buckets, max);
    return Array.from({ length: 700 }, (_, i) => [i, all[699 + sign * i]!] as [number, number]).filter(([i, b]) => i === 0 || all[699 + sign * (i - 1)] !== b);
  };
  const published: [number, number][] = [[0, 0], [1, 1], [2, 2], [3, 3], [4, 4], [5, 5], [6, 6], [7, 7], [8, 8], [12, 9], [16, 10], [23, 11], [32, 12], [46, 13], [64, 14], [91, 15]];
  expect(borders(32, 128, -1)).toEqual(published);
  expect(borders(32, 128, 1)).toEqual(published.map(([i, b]) => [i, i === 0 ? 0 : b + 16]));
  expect(borders(8, 20, 1)).toEqual([[0, 0], [1, 5], [2, 6], [7, 7]]);
});

test("relative_bias spreads the table over distances", async () => {
  const [length, heads, buckets] = [11, 3, 8];
  const table = values(buckets * heads, 1);
  const out = await runGraph((g) => ({ y: relativeBias(g.weight("t", [buckets, heads]), { length, maxDistance: 6 }) }), { weights: { t: { data: table, shape: [buckets, heads] } } });
  const bucket = relativeBuckets(length, buckets, 6);
  expect(out["y"]).toEqual(Float32Array.from({ length: heads * bucket.length }, (_, i) => table[bucket[i % bucket.length]! * heads + Math.floor(i / bucket.length)]!));
});

test("shapes that do not fit are refused", async () => {
  await expect(runGraph((g) => ({ y: attentionBias(g.input("x", [1, 4, 20]), g.input("b", [2, 7])) }))).rejects.toThrow(/\[attention_bias\] qkv must be \[B, S, 3·N·D\] for the bias's 2 heads, got x f32 \[1, 4, 20\]/);
  await expect(runGraph((g) => ({ y: attentionBias(g.input("x", [1, 4, 24]), g.input("b", [2, 8])) }))).rejects.toThrow(/\[attention_bias\] the bias must be f32 \[N, 7\] for 4 positions, got b f32 \[2, 8\]/);
});
