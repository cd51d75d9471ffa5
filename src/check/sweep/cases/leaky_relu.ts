/** leaky_relu: the rectifier and slopes, zeros, both storage types, windows. */
import { leakyRelu as kernel } from "#kernels";
import { leakyRelu } from "../../../ops/leaky_relu.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export const leakyReluReference = (slope: number, { x }: Values): Float64Array => Float64Array.from(x!, (v) => (v > 0 ? v : slope * v));

/** With some zeros among them. */
export const withZeros = (count: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => (i % 5 === 3 ? 0 : Math.sin(1.7 * i) * 3));

function one(size: Size, shape: readonly number[], slope: number, more: Partial<OpCase> = {}): OpCase {
  const count = shape.reduce((a, b) => a * b);
  return {
    size,
    name: `[${shape.join(", ")}], slope ${slope}${more.half ? `, f16: ${more.half.join(", ")}` : ""}${more.limits ? ", in windows" : ""}`,
    record: (draw) => ({ y: leakyRelu(draw.input("x", shape, { data: withZeros(count) }), slope, draw.type("y")) }),
    reference: (values) => ({ y: leakyReluReference(slope, values) }),
    ...more,
  };
}

export const leakyReluCases: OpCases = {
  op: "leaky_relu",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-7, f16: 1e-3 },
  cases: [
    one("tiny", [4], 0),
    one("odd", [67, 12], 0),
    one("odd", [129, 4], 0.2),
    ...[["x"], ["y"]].map((half) => one("odd", [33, 4], 0.1, { half })),
    one("odd", [200, 100], 0.2, { limits: { maxBindingBytes: 16384, maxGrid: 7 } }),
    one("model", [1, 16, 16, 256], 0),
  ],
};
