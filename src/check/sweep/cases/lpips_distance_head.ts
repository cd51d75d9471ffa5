/** lpips_distance_head: one and several chunks of positions, padded channels, windows. */
import { lpipsDistanceHead as kernel } from "#kernels";
import { lpipsDistanceOp } from "../../../ops/lpips_distance.ts";
import { lpipsDistanceHead } from "../../../ops/lpips_distance_head.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";
import { drawFeatures, lpipsDistanceReference } from "./lpips_distance.ts";
import type { Five } from "./max_pool2d.ts";

export function lpipsDistanceHeadReference(shape: Five, values: Values): Float64Array {
  const [, , H, W, C] = shape;
  const { inverse } = lpipsDistanceReference(shape, values);
  const { a, b, dy } = values;
  const out = new Float64Array(C);
  for (let i = 0; i < a!.length; i++) {
    const p = Math.floor(i / C);
    out[i % C]! += (dy![Math.floor(p / (H * W))]! / (H * W)) * (a![i]! * inverse[2 * p]! - b![i]! * inverse[2 * p + 1]!) ** 2;
  }
  return out;
}

function one(size: Size, shape: Five, more: Partial<OpCase> = {}): OpCase {
  return {
    size,
    name: `[${shape.join(", ")}]${more.limits ? ", in windows" : ""}`,
    half: ["a", "b"],
    record: (draw) => {
      const of = { ...drawFeatures(draw, shape), before: undefined };
      const { y, inverse } = of.a.graph.record(lpipsDistanceOp, of, {});
      return { dw: lpipsDistanceHead({ ...of, inverse: inverse!, dy: draw.input32("dy", y!.shape) }) };
    },
    reference: (values) => ({ dw: lpipsDistanceHeadReference(shape, values) }),
    ...more,
  };
}

export const lpipsDistanceHeadCases: OpCases = {
  op: "lpips_distance_head",
  kernels: oneKernel(kernel),
  tolerance: { f32: 3e-6, f16: 3e-6 },
  cases: [
    one("tiny", [1, 1, 1, 1, 4]),
    one("odd", [1, 2, 3, 5, 6]),
    one("odd", [2, 1, 7, 9, 20]),
    one("odd", [2, 2, 20, 23, 16], { limits: { maxBindingBytes: 32768, maxGrid: 30 } }),
    one("model", [1, 4, 16, 16, 512]),
  ],
};
