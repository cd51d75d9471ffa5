/** silu_gradient: sizes around the workgroup, both storage types, values whose exponential overflows. */
import { siluGradient as kernel } from "#kernels";
import { siluGradient } from "../../../ops/silu_gradient.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

/** d/dx x·σ(x) = σ + x·σ·(1 − σ), with 1 − σ as σ(−x). */
export function siluSlope(v: number): number {
  const [s, rest] = [1 / (1 + Math.exp(-v)), 1 / (1 + Math.exp(v))];
  return s + (s && rest ? v * s * rest : 0);
}

export function siluGradientReference({ x, dy }: Values): Float64Array {
  return Float64Array.from(x!, (v, i) => dy![i]! * siluSlope(v));
}

function one(size: Size, shape: readonly number[], scale = 4, more: Partial<OpCase> = {}): OpCase {
  return {
    size,
    name: `[${shape.join(", ")}] of ${scale}${more.limits ? ", in windows" : ""}`,
    record: (draw) => ({ dx: siluGradient(draw.input("x", shape, { scale }), draw.input("dy", shape)) }),
    reference: (values) => ({ dx: siluGradientReference(values) }),
    ...more,
  };
}

export const siluGradientCases: OpCases = {
  op: "silu_gradient",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-3 },
  cases: [
    one("tiny", [4]),
    one("odd", [67, 13]),
    one("odd", [129, 4], 1e4),
    one("odd", [201, 101], 4, { limits: { maxBindingBytes: 16384, maxGrid: 7 } }),
    one("model", [2, 1920]),
  ],
};
