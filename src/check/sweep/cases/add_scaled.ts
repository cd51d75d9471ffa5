/** add_scaled: sizes around the workgroup, every storage type, windows. */
import { addScaled as kernel } from "#kernels";
import { addScaled } from "../../../ops/add_scaled.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export const addScaledReference = ({ a, b, factor }: Values): Float64Array => Float64Array.from(a!, (v, i) => v + factor![0]! * b![i]!);

function one(size: Size, shape: readonly number[], more: Partial<OpCase> = {}): OpCase {
  return {
    size,
    name: `[${shape.join(", ")}]${more.half ? `, f16: ${more.half.join(", ")}` : ""}${more.limits ? ", in windows" : ""}`,
    record: (draw) => ({
      y: addScaled(draw.input("a", shape), draw.input("b", shape), draw.input32("factor", [4], { scale: 3 }), draw.type("y")),
    }),
    reference: (values) => ({ y: addScaledReference(values) }),
    ...more,
  };
}

export const addScaledCases: OpCases = {
  op: "add_scaled",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-3 },
  cases: [
    one("tiny", [4]),
    one("odd", [67, 12]),
    ...[["a"], ["b"], ["y"]].map((half) => one("odd", [33, 4], { half })),
    one("odd", [200, 100], { limits: { maxBindingBytes: 16384, maxGrid: 7 } }),
    one("model", [1, 4, 64, 64, 4]),
  ],
};
