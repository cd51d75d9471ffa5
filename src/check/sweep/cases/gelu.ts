/** gelu: sizes around the workgroup, both storage types, values whose cube and exponential overflow, windows. */
import { gelu as kernel } from "#kernels";
import { gelu } from "../../../ops/gelu.ts";
import { gelu as geluOf } from "../activations.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export const geluReference = ({ x }: Values): Float64Array => Float64Array.from(x!, geluOf);

function one(size: Size, shape: readonly number[], scale = 4, more: Partial<OpCase> = {}): OpCase {
  return {
    size,
    name: `[${shape.join(", ")}] of ${scale}${more.limits ? ", in windows" : ""}${more.half ? `, f16: ${more.half.join(", ")}` : ""}`,
    record: (draw) => ({ y: gelu(draw.input("x", shape, { scale }), draw.type("y")) }),
    reference: (values) => ({ y: geluReference(values) }),
    ...more,
  };
}

export const geluCases: OpCases = {
  op: "gelu",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-3 },
  cases: [
    one("tiny", [4]),
    one("odd", [67, 12]),
    one("odd", [67, 13], 4, { half: ["x"] }),
    one("odd", [67, 13], 4, { half: ["y"] }),
    one("odd", [129, 4], 1e4),
    one("odd", [129, 4], 1e30, { half: [] }),
    one("odd", [201, 101], 4, { limits: { maxBindingBytes: 16384, maxGrid: 7 } }),
    one("model", [738, 7680]),
  ],
};
