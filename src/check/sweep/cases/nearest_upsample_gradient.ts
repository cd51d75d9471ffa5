/** nearest_upsample_gradient: odd and even frames, in time and not, windows. */
import { nearestUpsampleGradient as kernel } from "#kernels";
import { upsampledFrames } from "../../../ops/conv3d.ts";
import { nearestUpsampleGradient } from "../../../ops/nearest_upsample_gradient.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";
import type { UpsampleSizes } from "./nearest_upsample.ts";

export function nearestUpsampleGradientReference(
  { x: [B, T, H, W, C], time, keepFirst = true }: UpsampleSizes,
  { dy }: Values,
): Float64Array {
  const frames = Array.from({ length: T }, (_, t) => (!time || (keepFirst && T % 2 && t === 0) ? [t] : [t, t])).flat();
  const dx = new Float64Array(B * T * H * W * C);
  let from = 0;
  for (let b = 0; b < B; b++)
    for (const t of frames)
      for (let h = 0; h < 2 * H; h++)
        for (let w = 0; w < 2 * W; w++)
          for (let c = 0; c < C; c++, from++) dx[(((b * T + t) * H + (h >> 1)) * W + (w >> 1)) * C + c]! += dy![from]!;
  return dx;
}

function one(size: Size, sizes: UpsampleSizes, limits?: OpCase["limits"]): OpCase {
  const { x, time, keepFirst = true } = sizes;
  const [B, T, H, W, C] = x;
  return {
    size,
    name: `[${x.join(", ")}]${limits ? ", in windows" : ""}${time ? ", in time too" : ""}${keepFirst ? "" : ", every frame"}`,
    ...(limits ? { limits } : {}),
    record: (draw) => ({
      dx: nearestUpsampleGradient(draw.input("dy", [B, time ? upsampledFrames(T, keepFirst) : T, 2 * H, 2 * W, C]), {
        frames: T,
        time,
        keepFirst,
      }),
    }),
    reference: (values) => ({ dx: nearestUpsampleGradientReference(sizes, values) }),
  };
}

export const nearestUpsampleGradientCases: OpCases = {
  op: "nearest_upsample_gradient",
  kernels: oneKernel(kernel),
  tolerance: { f32: 2e-7, f16: 1e-3 },
  cases: [
    one("tiny", { x: [1, 1, 1, 1, 4], time: true }),
    one("odd", { x: [2, 2, 3, 5, 4], time: false }),
    one("odd", { x: [2, 3, 3, 2, 8], time: true }),
    one("odd", { x: [1, 4, 2, 3, 12], time: true }),
    one("odd", { x: [1, 5, 9, 7, 4], time: true }, { maxBindingBytes: 4096 }),
    one("odd", { x: [2, 3, 3, 2, 8], time: true, keepFirst: false }),
    one("odd", { x: [2, 3, 9, 7, 4], time: false }, { maxBindingBytes: 2048 }),
    one("model", { x: [1, 3, 6, 10, 512], time: true }),
  ],
};
