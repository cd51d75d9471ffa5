/** silu: sizes around the workgroup, values whose exponential overflows. */
import { silu as kernel } from "#kernels";
import { silu } from "../../../ops/silu.ts";
import { silu as siluOf } from "../activations.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export const siluReference = ({ x }: Values): Float64Array => Float64Array.from(x!, siluOf);

function one(size: Size, count: number, scale = 4): OpCase {
  return {
    size,
    name: `${count} values of ${scale}`,
    half: [],
    record: (draw) => ({ y: silu(draw.input32("x", [count], { scale })) }),
    reference: (values) => ({ y: siluReference(values) }),
  };
}

export const siluCases: OpCases = {
  op: "silu",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-6 },
  cases: [one("tiny", 4), one("odd", 68), one("odd", 516, 1e5), one("odd", 516, 1e30), one("model", 1024)],
};
