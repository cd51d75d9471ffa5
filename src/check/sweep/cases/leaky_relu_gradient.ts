/** leaky_relu_gradient: the rectifier and slopes, zeros, both storage types, windows. */
import { leakyReluGradient as kernel } from "#kernels";
import { leakyReluGradient } from "../../../ops/leaky_relu_gradient.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";
import { withZeros } from "./leaky_relu.ts";

export const leakyReluGradientReference = (slope: number, { y, dy }: Values): Float64Array =>
  Float64Array.from(y!, (v, i) => (v > 0 ? 1 : slope) * dy![i]!);

function one(size: Size, shape: readonly number[], slope: number, more: Partial<OpCase> = {}): OpCase {
  const count = shape.reduce((a, b) => a * b);
  return {
    size,
    name: `[${shape.join(", ")}], slope ${slope}${more.half ? `, f16: ${more.half.join(", ")}` : ""}${more.limits ? ", in windows" : ""}`,
    record: (draw) => ({
      dx: leakyReluGradient(draw.input("y", shape, { data: withZeros(count) }), draw.input("dy", shape), slope, draw.type("dx")),
    }),
    reference: (values) => ({ dx: leakyReluGradientReference(slope, values) }),
    ...more,
  };
}

export const leakyReluGradientCases: OpCases = {
  op: "leaky_relu_gradient",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-7, f16: 1e-3 },
  cases: [
    one("tiny", [4], 0),
    one("odd", [67, 12], 0),
    one("odd", [129, 4], 0.2),
    ...[["y"], ["dy", "dx"]].map((half) => one("odd", [33, 4], 0.1, { half })),
    one("odd", [200, 100], 0.2, { limits: { maxBindingBytes: 16384, maxGrid: 7 } }),
    one("model", [1, 16, 16, 256], 0),
  ],
};
