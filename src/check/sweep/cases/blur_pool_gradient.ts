/** blur_pool_gradient: the smallest pictures, whose rows are mirrored on both sides, odd and even sizes, windows of the binding. */
import { blurPoolGradient as kernel } from "#kernels";
import { blurPoolGradient } from "../../../ops/blur_pool_gradient.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";
import { blurred } from "./blur_pool.ts";
import type { Five } from "./max_pool2d.ts";

export function blurPoolGradientReference(shape: Five, { dy }: Values): Float64Array {
  const dx = new Float64Array(shape.reduce((a, b) => a * b));
  blurred(shape, (at, there, share) => void (dx[there]! += dy![at]! * share));
  return dx;
}

function one(size: Size, shape: Five, more: Partial<OpCase> = {}): OpCase {
  const [B, T, H, W, C] = shape;
  const dy = [B, T, Math.floor((H + 1) / 2) + 1, Math.floor((W + 1) / 2) + 1, C];
  return {
    size,
    name: `[${shape.join(", ")}]${more.half ? `, f16: ${more.half.join(", ")}` : ""}${more.limits ? ", in windows" : ""}`,
    record: (draw) => ({ dx: blurPoolGradient(draw.input("dy", dy), { shape, dtype: draw.type("dx") }) }),
    reference: (values) => ({ dx: blurPoolGradientReference(shape, values) }),
    ...more,
  };
}

export const blurPoolGradientCases: OpCases = {
  op: "blur_pool_gradient",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-3 },
  cases: [
    one("tiny", [1, 1, 3, 3, 4]),
    one("odd", [2, 2, 4, 5, 4], { half: ["dy"] }),
    one("odd", [1, 3, 7, 6, 12]),
    one("odd", [1, 2, 5, 4, 8], { half: ["dx"] }),
    one("odd", [2, 2, 21, 22, 8], { limits: { maxBindingBytes: 4096, maxGrid: 7 } }),
    one("odd", [3, 1, 4, 60, 4], { limits: { maxBindingBytes: 4096 } }),
    one("model", [1, 4, 33, 33, 64]),
  ],
};
