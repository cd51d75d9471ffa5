/** lpips_distance_gradient: both operands, positions without features, channels fewer and more than lanes, windows. */
import { lpipsDistanceGradient as kernel } from "#kernels";
import { lpipsDistanceOp } from "../../../ops/lpips_distance.ts";
import { lpipsDistanceGradient } from "../../../ops/lpips_distance_gradient.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";
import { drawFeatures, lpipsDistanceReference, padRows, withEmpty } from "./lpips_distance.ts";
import type { Five } from "./max_pool2d.ts";

/** By the chain rule through the division: d(a_c / n) with n = ‖a‖ + ε, whose own gradient is a_c / ‖a‖. */
export function lpipsDistanceGradientReference(shape: Five, operand: "a" | "b", values: Values): Float64Array {
  const [, , H, W, C] = shape;
  const { inverse } = lpipsDistanceReference(shape, values);
  const [own, other] = operand === "a" ? [values["a"]!, values["b"]!] : [values["b"]!, values["a"]!];
  const out = new Float64Array(own.length);
  for (let p = 0; p < own.length / C; p++) {
    const [i, j] = operand === "a" ? [inverse[2 * p]!, inverse[2 * p + 1]!] : [inverse[2 * p + 1]!, inverse[2 * p]!];
    const dy = values["dy"]![Math.floor(p / (H * W))]!;
    const g = Array.from({ length: C }, (_, c) => ((2 * dy) / (H * W)) * values["w"]![c]! * (own[p * C + c]! * i - other[p * C + c]! * j));
    const norm = Math.sqrt(Array.from(own.subarray(p * C, (p + 1) * C), (v) => v * v).reduce((s, v) => s + v, 0));
    if (norm === 0) continue;
    const ofNorm = -g.reduce((s, v, c) => s + v * own[p * C + c]!, 0) * i * i;
    for (let c = 0; c < C; c++) out[p * C + c] = g[c]! * i + (ofNorm * own[p * C + c]!) / norm;
  }
  return padRows(out, C);
}

function one(size: Size, shape: Five, operand: "a" | "b", { empty, ...more }: Partial<OpCase> & { empty?: boolean } = {}): OpCase {
  return {
    size,
    name: `[${shape.join(", ")}], of ${operand}${empty ? ", with zeros" : ""}${more.limits ? ", in windows" : ""}`,
    half: ["a", "b"],
    record: (draw) => {
      const of = { ...drawFeatures(draw, shape, empty ? withEmpty(shape) : undefined), before: undefined };
      const { y, inverse } = of.a.graph.record(lpipsDistanceOp, of, {});
      return { dx: lpipsDistanceGradient({ ...of, inverse: inverse!, dy: draw.input32("dy", y!.shape) }, operand) };
    },
    reference: (values) => ({ dx: lpipsDistanceGradientReference(shape, operand, values) }),
    ...more,
  };
}

export const lpipsDistanceGradientCases: OpCases = {
  op: "lpips_distance_gradient",
  kernels: oneKernel(kernel),
  tolerance: { f32: 3e-6, f16: 1e-3 },
  cases: [
    one("tiny", [1, 1, 1, 1, 4], "a"),
    one("odd", [1, 2, 3, 5, 6], "b"),
    one("odd", [2, 1, 7, 9, 20], "a", { empty: true }),
    one("odd", [1, 1, 5, 3, 84], "a"),
    one("odd", [2, 2, 20, 23, 16], "b", { limits: { maxBindingBytes: 32768, maxGrid: 30 } }),
    one("model", [1, 4, 16, 16, 512], "a"),
  ],
};
