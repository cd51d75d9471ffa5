/** gelu_gradient: sizes around the workgroup, both storage types, values whose cube and exponential overflow, a gradient in its place. */
import { geluGradient as kernel } from "#kernels";
import { geluGradient } from "../../../ops/gelu_gradient.ts";
import { silu } from "../../../ops/silu.ts";
import { silu as siluOf } from "../activations.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

/** The slope of 0.5 v (1 + tanh u), u = √(2/π) (v + 0.044715 v³): 0.5 (1 + tanh u) + 0.5 v u' / cosh² u. */
export function geluGradientReference({ x, dy }: Values): Float64Array {
  return Float64Array.from(x!, (v, i) => {
    const u = Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3);
    const rise = Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * v ** 2);
    return dy![i]! * (0.5 * (1 + Math.tanh(u)) + (Math.abs(u) < 300 ? (0.5 * v * rise) / Math.cosh(u) ** 2 : 0));
  });
}

function one(size: Size, shape: readonly number[], scale = 4, more: Partial<OpCase> = {}): OpCase {
  return {
    size,
    name: `[${shape.join(", ")}] of ${scale}${more.limits ? ", in windows" : ""}`,
    record: (draw) => ({ dx: geluGradient(draw.input("x", shape, { scale }), draw.input("dy", shape)) }),
    reference: (values) => ({ dx: geluGradientReference(values) }),
    ...more,
  };
}

export const geluGradientCases: OpCases = {
  op: "gelu_gradient",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-3 },
  cases: [
    one("tiny", [4]),
    one("odd", [67, 13]),
    one("odd", [129, 4], 1e4),
    one("odd", [201, 101], 4, { limits: { maxBindingBytes: 16384, maxGrid: 7 } }),
    {
      size: "odd",
      name: "[13, 5] in the place of dy",
      half: [],
      record: (draw) => ({ dx: geluGradient(draw.input32("x", [13, 5], { scale: 4 }), silu(draw.input32("dy", [13, 5]))) }),
      reference: ({ x, dy }) => ({ dx: geluGradientReference({ x: x!, dy: Float32Array.from(dy!, siluOf) }) }),
    },
    one("model", [738, 7680]),
  ],
};
