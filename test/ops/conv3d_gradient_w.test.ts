import { describe, expect, test } from "vitest";
import { attrsOf, type ConvSizes } from "../../src/check/sweep/cases/conv3d.ts";
import { conv3dGradientWCases, conv3dGradientWReference } from "../../src/check/sweep/cases/conv3d_gradient_w.ts";
import type { CapabilityOverrides } from "../../src/gpu/capabilities.ts";
import { Graph } from "../../src/graph/graph.ts";
import type { Tensor } from "../../src/graph/tensor.ts";
import { conv3dGradientW } from "../../src/ops/conv3d_gradient_w.ts";
import { expectClose, values } from "../support/compare.ts";
import { limitedGpu, runGraph, testGpu } from "../support/gpu.ts";
import { someCaseTests } from "../support/some-cases.ts";

someCaseTests(conv3dGradientWCases, {
  f32: /^(3×3×3|3×3×3 on a cache|4×4×4.*|replicated[^,]*, [^,]*), |in windows|2-D/,
  f16: /24 to 40/,
});

/** Of any 3×3×3 convolution. */
const conv = attrsOf({ x: [1, 2, 4, 4, 4], w: [8, 3, 3, 3] });

describe.each([{ kind: "software" as const }, { kind: "hardware" as const }])("$kind kernels", ({ kind }) => {
  // One tile by a slot a piece, and enough tiles for one slot.
  test.each([
    [32, 24],
    [144, 132],
  ])("%i to %i channels: the same bytes twice, and with less memory", async (cin, n) => {
    const sizes: ConvSizes = { x: [1, 4, 6, 5, cin], w: [n, 3, 3, 3] };
    const [x, dy] = [values(4 * 30 * cin, 1), values(4 * 30 * n, 2)];
    const shape = [n, cin, 3, 3, 3];
    const run = async (limits: CapabilityOverrides = {}) => {
      await using gpu = await limitedGpu({ kind, ...limits });
      const build = (g: Graph): Record<string, Tensor> => ({
        dw: conv3dGradientW({ x: g.input("x", sizes.x), dy: g.input("dy", [1, 4, 6, 5, n]), cache: undefined }, { conv, shape }),
      });
      return (await runGraph(build, { gpu, inputs: { x, dy } }))["dw"]!;
    };
    const whole = await run();
    expectClose(whole, conv3dGradientWReference(sizes, { x, dy }), 1e-5, shape);
    expect(await run()).toEqual(whole);
    // Of the sums of frames as many as there is memory for wait to be added: all of them, or one.
    expect(await run({ maxBindingBytes: 4 * 27 * cin * n + 256 })).toEqual(whole);
  });
});

test("kernels for 4 lanes are as right on an adapter of more", async ({ skip }) => {
  const { caps } = await testGpu();
  skip(caps.subgroups === null || caps.subgroups.min < 4, "needs an adapter with subgroups of 4 lanes");
  await using gpu = await limitedGpu({ kind: "software", subgroups: { min: 4, max: caps.subgroups!.max } });
  const sizes: ConvSizes = { x: [1, 2, 5, 11, 12], w: [20, 3, 3, 3] };
  const [x, dy] = [values(2 * 55 * 12, 1), values(2 * 55 * 20, 2)];
  const shape = [20, 12, 3, 3, 3];
  const build = (g: Graph) => ({
    dw: conv3dGradientW({ x: g.input("x", sizes.x), dy: g.input("dy", [1, 2, 5, 11, 20]), cache: undefined }, { conv, shape }),
  });
  const { dw } = await runGraph(build, { gpu, inputs: { x, dy } });
  expectClose(dw!, conv3dGradientWReference(sizes, { x, dy }), 1e-5, shape);
});

test("a gradient of another shape is refused with both named", () => {
  const graph = new Graph("refused");
  const inputs = { x: graph.input("x", [1, 2, 4, 4, 4]), dy: graph.input("dy", [1, 2, 4, 4, 4]), cache: undefined };
  expect(() => conv3dGradientW(inputs, { conv, shape: [8, 4, 3, 3, 3] })).toThrow(
    /\[conv3d_gradient_w\] dy must be f32 or f16 \[1, 2, 4, 4, 8\] for a convolution of x .* with w \[8, 4, 3, 3, 3\], got \[1, 2, 4, 4, 4\]/,
  );
});
