import { describe, expect, test } from "vitest";
import { elements } from "../../src/graph/dtype.ts";
import { Graph } from "../../src/graph/graph.ts";
import type { Tensor } from "../../src/graph/tensor.ts";
import { conv3d, conv3dOp, type Conv3dOptions } from "../../src/ops/conv3d.ts";
import { conv3dReference, outputShape, type ConvSizes } from "../../src/check/sweep/cases/conv3d.ts";
import { expectClose, toHalf, values } from "../support/compare.ts";
import { limitedGpu, runGraph, testGpu } from "../support/gpu.ts";
import { padChannels, pad4 } from "../support/video.ts";

const cases: Record<string, ConvSizes> = {
  "3×3×3": { x: [2, 3, 5, 7, 5], w: [7, 3, 3, 3] },
  "3×3×3 of one frame": { x: [1, 1, 4, 5, 4], w: [20, 3, 3, 3] },
  "3×3×3 with tails": { x: [1, 2, 9, 11, 20], w: [67, 3, 3, 3] },
  "3×3×3 on a cache": { x: [2, 3, 4, 5, 5], w: [18, 3, 3, 3], cached: true },
  "3×3×3 of one frame on a cache": { x: [1, 1, 6, 3, 4], w: [3, 3, 3, 3], cached: true },
  "1×1×1": { x: [1, 2, 3, 5, 10], w: [13, 1, 1, 1] },
  "2-D, stride 2, padded right and below": { x: [1, 3, 6, 10, 8], w: [8, 1, 3, 3], stride: [1, 2, 2], pad: [0, 1, 0, 1] },
  "2-D on rows and columns doubled": { x: [2, 3, 3, 5, 4], w: [6, 1, 3, 3], upsample: "space" },
  "2-D on all doubled, odd": { x: [1, 3, 2, 5, 4], w: [4, 1, 3, 3], upsample: "space-time" },
  "2-D on all doubled, even": { x: [1, 2, 3, 3, 4], w: [4, 1, 3, 3], upsample: "space-time" },
  "2-D on all doubled, one frame": { x: [1, 1, 3, 3, 4], w: [4, 1, 3, 3], upsample: "space-time" },
  "strides everywhere": { x: [1, 5, 7, 6, 4], w: [5, 3, 3, 3], stride: [2, 2, 3] },
  "dilated in time": { x: [1, 6, 3, 4, 4], w: [4, 3, 3, 3], dilation: 2, cached: true },
  "replicated borders": { x: [1, 2, 4, 3, 4], w: [4, 3, 3, 3], replicate: true },
  "5×3×5, more frames under the kernel than in x": { x: [1, 2, 5, 6, 4], w: [4, 5, 3, 5], cached: true },
};

function setUp(c: ConvSizes) {
  const [B, T, H, W, C] = c.x;
  const [N, kt, kh, kw] = c.w;
  const x = values(B * T * H * W * C, 1),
    w = values(N * C * kt * kh * kw, 2),
    bias = values(N, 3),
    cache = c.cached ? values(B * (kt - 1) * H * W * C, 4) : undefined;
  const residual = values(elements(outputShape(c)), 5);
  const want = (also: { residual?: true; silu?: true } = {}): Float64Array =>
    conv3dReference({ ...c, ...also }, { x, w, bias, ...(cache ? { cache } : {}), ...(also.residual ? { residual } : {}) });
  const shape = outputShape(c).with(-1, pad4(N));
  const build = (g: Graph, { residual: given, ...rest }: Omit<Conv3dOptions, "residual"> & { residual?: true }, half = false): Tensor => {
    const type = half ? "f16" : "f32";
    const options: Conv3dOptions = { bias: g.weight("b", [N]), ...rest };
    if (c.stride) options.stride = c.stride;
    if (c.dilation) options.dilation = c.dilation;
    if (c.pad) options.pad = c.pad;
    if (c.replicate) options.padMode = "replicate";
    if (c.upsample) options.upsample = c.upsample;
    if (c.cached) options.cache = g.input("cache", [B, kt - 1, H, W, pad4(C)], type);
    if (given) options.residual = g.input("residual", shape);
    return conv3d(
      g.input("x", [B, T, H, W, pad4(C)], type),
      g.weight("w", kt === 1 && kh > 1 ? [N, C, kh, kw] : [N, C, kt, kh, kw]),
      options,
    );
  };
  const inputs: Record<string, Float32Array> = { x: padChannels(x, C), ...(cache ? { cache: padChannels(cache, C) } : {}) };
  return {
    want,
    shape,
    build,
    inputs,
    residual: padChannels(residual, N),
    weights: { w: { data: w, shape: [N, C, kt, kh, kw] }, b: { data: bias, shape: [N] } },
  };
}

describe.each(Object.entries(cases))("conv3d %s", (_, c) => {
  const { want, shape, build, inputs, residual, weights } = setUp(c);

  test("with a bias, a residual and SiLU", async () => {
    const out = await runGraph((g) => ({ y: build(g, { residual: true, activation: "silu" }) }), {
      weights,
      inputs: { ...inputs, residual },
    });
    expectClose(out["y"]!, want({ residual: true, silu: true }), 1e-5, shape);
  });

  test("with the kernel for GPUs", async () => {
    await using gpu = await limitedGpu({ kind: "hardware", immediates: false });
    const out = await runGraph((g) => ({ y: build(g, { residual: true }) }), { gpu, weights, inputs: { ...inputs, residual } });
    expectClose(out["y"]!, want({ residual: true }), 1e-5, shape);
  });

  test("f16 storage", async ({ skip }) => {
    skip(!(await testGpu()).caps.f16, "needs an adapter with shader-f16");
    const halves = Object.fromEntries(Object.entries(inputs).map(([k, v]) => [k, toHalf(v)]));
    const out = await runGraph((g) => ({ y: build(g, { dtype: "f16", residual: true }, true) }), {
      weights,
      weightType: "f16",
      inputs: { ...halves, residual },
    });
    expectClose(out["y"]!, want({ residual: true }), 5e-3, shape);
  });
});

describe.each(["software", "hardware"] as const)("conv3d in windows, %s kernels", (kind) => {
  // A frame of x has 9216 bytes and the packed weight 6912: bindings of three frames, and of less than one.
  test.each([
    ["frames", 29 * 1024],
    ["rows", 7168],
  ])("of %s", async (_, maxBindingBytes) => {
    for (const cached of [false, true]) {
      const c: ConvSizes = { x: [2, 4, 24, 24, 4], w: [4, 3, 3, 3], cached };
      const { want, shape, build, inputs, residual, weights } = setUp(c);
      await using gpu = await limitedGpu({ maxBindingBytes, kind, maxGrid: 40 });
      const out = await runGraph((g) => ({ y: build(g, { residual: true, activation: "silu" }) }), {
        gpu,
        weights,
        inputs: { ...inputs, residual },
      });
      expectClose(out["y"]!, want({ residual: true, silu: true }), 1e-5, shape);
    }
  });

  test("of rows, doubled while read", async () => {
    const c: ConvSizes = { x: [1, 3, 10, 16, 4], w: [4, 1, 3, 3], upsample: "space-time" };
    const { want, shape, build, inputs, weights } = setUp(c);
    await using gpu = await limitedGpu({ maxBindingBytes: 2560, kind });
    const out = await runGraph((g) => ({ y: build(g, {}) }), { gpu, weights, inputs });
    expectClose(out["y"]!, want(), 1e-5, shape);
  });
});

describe("conv3d by subgroup matrices", () => {
  const shapes: Record<string, ConvSizes> = {
    "3×3×3 with tails, two batches": { x: [2, 3, 5, 7, 8], w: [7, 3, 3, 3] },
    "3×3×3 on a cache": { x: [2, 3, 4, 5, 24], w: [20, 3, 3, 3], cached: true },
    "1×1×1": { x: [1, 2, 3, 5, 48], w: [13, 1, 1, 1] },
    "2-D, stride 2, padded right and below": { x: [1, 3, 6, 10, 16], w: [8, 1, 3, 3], stride: [1, 2, 2], pad: [0, 1, 0, 1] },
    "2-D on all doubled, odd": { x: [1, 3, 2, 5, 8], w: [4, 1, 3, 3], upsample: "space-time" },
    "replicated borders, dilated": { x: [1, 4, 4, 3, 8], w: [4, 3, 3, 3], replicate: true, dilation: 2 },
    "the largest tile": { x: [1, 3, 9, 21, 32], w: [516, 1, 1, 3] },
  };
  test.for(Object.entries(shapes))("%s", async ([, c], { skip }) => {
    await using gpu = await limitedGpu({ kind: "hardware" });
    skip(gpu.caps.subgroupMatrices.length === 0, "needs an adapter with subgroup matrices (npm run test:subgroup-matrix)");
    const { want, shape, build, inputs, residual, weights } = setUp(c);
    const halves = Object.fromEntries(Object.entries(inputs).map(([k, v]) => [k, toHalf(v)]));
    const out = await runGraph((g) => ({ y: build(g, { residual: true, activation: "silu" }, true) }), {
      gpu,
      weights,
      weightType: "f16",
      inputs: { ...halves, residual },
    });
    expectClose(out["y"]!, want({ residual: true, silu: true }), 5e-3, shape);
  });

  test.for([
    ["frames", 29 * 1024],
    ["rows", 9216],
  ] as const)("in windows of %s", async ([, maxBindingBytes], { skip }) => {
    await using gpu = await limitedGpu({ maxBindingBytes, kind: "hardware", maxGrid: 40 });
    skip(gpu.caps.subgroupMatrices.length === 0, "needs an adapter with subgroup matrices (npm run test:subgroup-matrix)");
    for (const cached of [false, true]) {
      const { want, shape, build, inputs, weights } = setUp({ x: [2, 4, 24, 24, 8], w: [4, 3, 3, 3], cached });
      const halves = Object.fromEntries(Object.entries(inputs).map(([k, v]) => [k, toHalf(v)]));
      const out = await runGraph((g) => ({ y: build(g, { activation: "silu", dtype: "f16" }, true) }), {
        gpu,
        weights,
        weightType: "f16",
        inputs: halves,
      });
      expectClose(out["y"]!, want({ silu: true }), 5e-3, shape);
    }
  });
});

test("conv3d, the large tile of the kernel for GPUs, with tails", async () => {
  const c: ConvSizes = { x: [1, 3, 61, 66, 16], w: [132, 1, 1, 3] };
  const { want, shape, build, inputs, weights } = setUp(c);
  await using gpu = await limitedGpu({ kind: "hardware" });
  const out = await runGraph((g) => ({ y: build(g, { activation: "silu" }) }), { gpu, weights, inputs });
  expectClose(out["y"]!, want({ silu: true }), 1e-5, shape);
});

test("shapes that do not fit are refused with both named", async () => {
  await expect(runGraph((g) => ({ y: conv3d(g.input("x", [1, 1, 4, 4, 4]), g.weight("w", [4, 8, 3, 3, 3])) }))).rejects.toThrow(
    /\[conv3d\] channels must match, got x \[1, 1, 4, 4, 4\] f32 and w \[4, 8, 3, 3, 3\] f32/,
  );
});

function convolve(frames: number, options: Conv3dOptions = {}) {
  const graph = new Graph("convolution");
  const y = conv3d(graph.input("x", [1, frames, 4, 4, 4]), graph.input("w", [4, 4, 3, 3, 3]), options);
  return { y, attrs: graph.nodes.find(({ op }) => op === conv3dOp)!.attrs };
}

test("a convolution is causal unless told: all frames before, the first repeated, none after", () => {
  expect(convolve(5).attrs).toMatchObject({ padFrames: [2, 0], zeroFrames: false, keepFirst: true });
  expect(convolve(5).y.dim(1)).toBe(5);
  expect(convolve(5, { padFrames: [1, 1], padFramesMode: "zeros" }).y.dim(1)).toBe(5);
  expect(convolve(5, { padFrames: [0, 0] }).y.dim(1)).toBe(3);
});

test("frames after the last are zeros, and every frame of the result sees one of x", () => {
  expect(() => convolve(5, { padFrames: [1, 1] })).toThrow(
    /^\[conv3d\] frames are padded by whole numbers from 0, after the last one with zeros, got padFrames \[1, 1\] of repeated frames; pass/,
  );
  expect(() => convolve(5, { padFrames: [-1, 0] })).toThrow(/got padFrames \[-1, 0\]/);
  expect(() => convolve(5, { padFrames: [3, 0], padFramesMode: "zeros" })).toThrow(
    /^\[conv3d\] every frame of the result must see one of x, got none under frame 0 with padFrames \[3, 0\] around x \[1, 5, 4, 4, 4\] f32; /,
  );
});
