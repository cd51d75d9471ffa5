import { expect, test } from "vitest";
import { attrsOf } from "../../src/check/sweep/cases/conv3d.ts";
import { conv3dGradientXCases, conv3dGradientXReference } from "../../src/check/sweep/cases/conv3d_gradient_x.ts";
import { differentiate } from "../../src/gradient/differentiate.ts";
import { watch } from "../../src/gradient/watch.ts";
import { Graph } from "../../src/graph/graph.ts";
import { conv3d, type Conv3dOptions } from "../../src/ops/conv3d.ts";
import { conv3dGradientX } from "../../src/ops/conv3d_gradient_x.ts";
import { expectClose, values } from "../support/compare.ts";
import { runGraph } from "../support/gpu.ts";
import { someCaseTests } from "../support/some-cases.ts";

someCaseTests(conv3dGradientXCases, {
  f32: /^(3×3×3|3×3×3 on a cache|4×4×4.*|replicated.*), [35] to|^3×3×3 in windows|^2-D on all doubled/,
  f16: /\(gw\)/,
});

test("it is the transpose of the convolution: what a tap sends back lies where it looked", async () => {
  const sizes = { x: [1, 3, 4, 4, 4], w: [4, 3, 3, 3] } as const;
  const [w, dy] = [values(4 * 4 * 27, 1), values(3 * 16 * 4, 2)];
  const { dx } = await runGraph(
    (graph) => {
      const [x, weight] = [watch(graph.input("x", sizes.x)), graph.weight("w", [4, 4, 3, 3, 3])];
      const y = conv3d(x, weight);
      const [gradient] = differentiate([{ of: y, gradient: graph.input("dy", y.shape) }], [x]);
      // The weight is read in the layout that the convolution has it in.
      return { y, dx: gradient! };
    },
    { weights: { w: { data: w, shape: [4, 4, 3, 3, 3] } }, inputs: { x: values(3 * 16 * 4, 3), dy } },
  );
  expectClose(dx!, conv3dGradientXReference(sizes, "x", { w, dy }), 1e-5, sizes.x);
});

test("a gradient of another shape is refused with both named", () => {
  const graph = new Graph("refused");
  const conv = attrsOf({ x: [1, 2, 4, 4, 4], w: [8, 3, 3, 3] });
  const attrs = { conv, shape: [1, 2, 4, 4, 4], front: "repeat", of: "x", dtype: "f32" } as const;
  expect(() => conv3dGradientX(graph.input("dy", [1, 2, 4, 4, 4]), graph.input("w", [8, 4, 3, 3, 3]), attrs)).toThrow(
    /\[conv3d_gradient_x\] dy must be f32 or f16 \[1, 2, 4, 4, 8\] for a convolution of x \[1, 2, 4, 4, 4\] with w .*, got \[1, 2, 4, 4, 4\] f32/,
  );
});

test("a kernel that is too wide for its padding is refused where a gradient goes through it", () => {
  const gradient = (options: Conv3dOptions) => {
    const graph = new Graph("wide");
    const x = watch(graph.input("x", [1, 1, 4, 20, 4]));
    const y = conv3d(x, graph.input("w", [4, 4, 1, 12]), options);
    return () => differentiate([{ of: y, gradient: graph.input("dy", y.shape) }], [x]);
  };
  expect(gradient({ pad: [0, 0, 5, 6] })).not.toThrow();
  expect(gradient({ pad: [0, 0, 0, 0] })).toThrow(/\[conv3d\] a gradient goes through kernels of up to 8 columns more than are padded/);
});
