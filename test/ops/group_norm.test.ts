import { describe, expect, test } from "vitest";
import type { Tensor } from "../../src/graph/graph.ts";
import { groupNorm } from "../../src/ops/group_norm.ts";
import { groupNormMerge } from "../../src/ops/group_norm_merge.ts";
import { groupNormStats } from "../../src/ops/group_norm_stats.ts";
import { expectClose, toHalf, values } from "../support/compare.ts";
import { limitedGpu, runGraph, testGpu } from "../support/gpu.ts";
import { pad4, padChannels } from "../support/video.ts";

type Case = { x: [number, number, number, number, number]; groups: number; z?: [number, number, number]; offset?: number; silu?: boolean };

const cases: Record<string, Case> = {
  "one group of all": { x: [2, 1, 3, 5, 4], groups: 1 },
  "groups that straddle vectors": { x: [1, 2, 3, 7, 6], groups: 2, silu: true },
  "a channel a group": { x: [1, 3, 5, 9, 10], groups: 10 },
  "several slices": { x: [2, 5, 11, 13, 8], groups: 4, silu: true },
  "mean 300 times the deviation": { x: [1, 2, 9, 16, 8], groups: 2, offset: 300 },
  "spatial, even frames": { x: [1, 4, 6, 10, 8], groups: 2, z: [2, 3, 5], silu: true },
  "spatial, odd frames": { x: [2, 9, 6, 4, 12], groups: 3, z: [3, 3, 2] },
  "spatial, one frame": { x: [1, 1, 8, 12, 5], groups: 5, z: [1, 1, 3] },
  "spatial, rows of many columns": { x: [1, 2, 2, 131, 4], groups: 1, z: [1, 1, 9], silu: true },
  "spatial, same size": { x: [1, 3, 3, 5, 4], groups: 1, z: [3, 3, 5] },
};

const eps = 1e-6;

/** By the definition, in float64; scale and shift at the nearest position. */
function reference(c: Case, x: Float32Array, weight: Float32Array, bias: Float32Array, scale?: Float32Array, shift?: Float32Array): Float64Array {
  const [B, T, H, W, C] = c.x;
  const width = C / c.groups;
  const y = new Float64Array(x.length);
  for (let b = 0; b < B; b++) for (let g = 0; g < c.groups; g++) {
    const at: number[] = [];
    for (let p = 0; p < T * H * W; p++) for (let k = 0; k < width; k++) at.push((b * T * H * W + p) * C + g * width + k);
    const mean = at.reduce((s, i) => s + x[i]!, 0) / at.length;
    const rstd = 1 / Math.sqrt(at.reduce((s, i) => s + (x[i]! - mean) ** 2, 0) / at.length + eps);
    for (const i of at) y[i] = (x[i]! - mean) * rstd * weight[i % C]! + bias[i % C]!;
  }
  if (c.z) {
    const [tz, hz, wz] = c.z;
    const apart = T > 1 && T % 2 === 1;
    for (let i = 0; i < y.length; i++) {
      const p = Math.floor(i / C);
      const [w, h, t, b] = [p % W, Math.floor(p / W) % H, Math.floor(p / W / H) % T, Math.floor(p / W / H / T)];
      const frame = apart ? (t === 0 ? 0 : 1 + Math.floor(((t - 1) * (tz - 1)) / (T - 1))) : Math.floor((t * tz) / T);
      const z = (((b * tz + frame) * hz + Math.floor((h * hz) / H)) * wz + Math.floor((w * wz) / W)) * C + (i % C);
      y[i] = y[i]! * scale![z]! + shift![z]!;
    }
  }
  return c.silu ? y.map((v) => v / (1 + Math.exp(-v))) : y;
}

function setUp(c: Case) {
  const [B, T, H, W, C] = c.x;
  const x = values(B * T * H * W * C, 1).map((v) => v + (c.offset ?? 0));
  const [weight, bias] = [values(C, 2), values(C, 3)];
  const zSize = c.z ? B * c.z[0] * c.z[1] * c.z[2] * C : 0;
  const [scale, shift] = [values(zSize, 4), values(zSize, 5)];
  const shape = [B, T, H, W, pad4(C)];
  return {
    shape,
    want: padChannels(Float32Array.from(reference(c, x, weight, bias, scale, shift)), C),
    inputs: { x: padChannels(x, C), ...(c.z ? { scale: padChannels(scale, C), shift: padChannels(shift, C) } : {}) },
    weights: { weight: { data: weight, shape: [C] }, bias: { data: bias, shape: [C] } },
    build: (g: Parameters<Parameters<typeof runGraph>[0]>[0], dtype: "f32" | "f16" = "f32"): Record<string, Tensor> => ({
      y: groupNorm(g.input("x", shape, dtype), g.weight("weight", [C]), g.weight("bias", [C]), {
        groups: c.groups, eps, dtype,
        ...(c.silu ? { activation: "silu" as const } : {}),
        ...(c.z ? { spatial: { scale: g.input("scale", [B, ...c.z, pad4(C)]), shift: g.input("shift", [B, ...c.z, pad4(C)]) } } : {}),
      }),
    }),
  };
}

describe.each(Object.entries(cases))("group_norm: %s", (_, c) => {
  const { shape, want, inputs, weights, build } = setUp(c);

  test("f32", async () => {
    // x itself carries 2^-24 of its mean: with a mean of 300 deviations no f32 norm can do better.
    const out = await runGraph((g) => build(g), { weights, inputs });
    expectClose(out["y"]!, want, c.offset ? 3e-5 : 2e-6, shape);
  });

  test("f16 storage", async ({ skip }) => {
    skip(!(await testGpu()).caps.f16, "needs an adapter with shader-f16");
    skip(c.offset !== undefined, "f16 cannot hold the input");
    const out = await runGraph((g) => build(g, "f16"), { weights, inputs: { ...inputs, x: toHalf(inputs.x) } });
    expectClose(out["y"]!, want, 5e-3, shape);
  });
});

test("windows change nothing", async () => {
  for (const c of [{ x: [2, 9, 12, 16, 8], groups: 4, silu: true }, { x: [1, 9, 16, 20, 4], groups: 2, z: [3, 2, 5] }] as Case[]) {
    const { shape, want, inputs, weights, build } = setUp(c);
    await using gpu = await limitedGpu({ maxBindingBytes: 8192, immediates: false, maxGrid: 30 });
    const out = await runGraph((g) => build(g), { gpu, weights, inputs });
    expectClose(out["y"]!, want, 2e-6, shape);
  }
});

test("statistics of slices of any size merge into those of the whole", async () => {
  const [rows, c] = [700, 8];
  const x = values(rows * c, 1).map((v, i) => v * (1 + (i % 5)) + 7);
  const out = await runGraph((g) => {
    const stats = groupNormStats(g.input("x", [1, rows, c]));
    return { stats, norm: groupNormMerge(stats, { channels: c, groups: 2, eps: 0 }) };
  }, { inputs: { x } });
  expect(out["stats"]!.length).toBeGreaterThan(3 * c);
  for (const group of [0, 1]) {
    const of = Array.from({ length: rows * 4 }, (_, i) => x[Math.floor(i / 4) * c + group * 4 + (i % 4)]!);
    const mean = of.reduce((a, b) => a + b) / of.length;
    const rstd = 1 / Math.sqrt(of.reduce((a, b) => a + (b - mean) ** 2, 0) / of.length);
    for (let i = 0; i < 4; i++) {
      expect(out["norm"]![group * 4 + i]).toBeCloseTo(mean, 4);
      expect(out["norm"]![c + group * 4 + i]! / rstd).toBeCloseTo(1, 5);
    }
  }
});

test("channels that do not divide into groups are refused", async () => {
  await expect(runGraph((g) => ({ y: groupNorm(g.input("x", [1, 1, 2, 2, 8]), g.weight("w", [6]), g.weight("b", [6]), { groups: 4, eps }) }))).rejects.toThrow(/\[group_norm_merge\] channels must divide into groups, got 6 and 4/);
});
