/** silu: sizes around the workgroup, both storage types, values whose exponential overflows. */
import { silu as kernel } from "#kernels";
import { silu } from "../../../ops/silu.ts";
import { silu as siluOf } from "../activations.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export const siluReference = ({ x }: Values): Float64Array => Float64Array.from(x!, siluOf);

function one(size: Size, count: number, scale = 4, half: readonly string[] = []): OpCase {
  return {
    size,
    name: `${count} values of ${scale}${half.length ? `, f16: ${half.join(", ")}` : ""}`,
    half,
    record: (draw) => ({ y: silu(draw.input("x", [count], { scale }), draw.type("y")) }),
    reference: (values) => ({ y: siluReference(values) }),
  };
}

export const siluCases: OpCases = {
  op: "silu",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-3 },
  cases: [
    one("tiny", 4),
    one("odd", 67),
    one("odd", 516, 1e5),
    one("odd", 516, 1e30),
    ...[["x", "y"], ["x"], ["y"]].map((half) => one("odd", 131, 4, half)),
    one("model", 1024),
  ],
};
