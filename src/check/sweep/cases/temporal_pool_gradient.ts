/** temporal_pool_gradient: odd and even frames, with the first kept and not, windows. */
import { frameSums as kernel } from "#kernels";
import { temporalPoolGradient } from "../../../ops/temporal_pool_gradient.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

type Five = readonly [number, number, number, number, number];
const pooled = (frames: number, keepFirst: boolean) => (keepFirst ? Math.ceil(frames / 2) : Math.floor(frames / 2));

/** @param shape of what was pooled */
export function temporalPoolGradientReference([B, T, H, W, C]: Five, { dy }: Values, keepFirst = true): Float64Array {
  const plane = H * W * C;
  const frames = pooled(T, keepFirst);
  const single = keepFirst && T % 2 === 1;
  const dx = new Float64Array(B * T * plane);
  for (let b = 0; b < B; b++)
    for (let t = 0; t < frames; t++)
      for (let i = 0; i < plane; i++) {
        const g = dy![(b * frames + t) * plane + i]!;
        const of = single && t === 0 ? [0] : [2 * t - +single, 2 * t + 1 - +single];
        for (const from of of) dx[(b * T + from) * plane + i]! += g / of.length;
      }
  return dx;
}

function one(size: Size, shape: Five, limits?: OpCase["limits"], keepFirst = true): OpCase {
  const [B, T, ...rest] = shape;
  return {
    size,
    name: `[${shape.join(", ")}]${keepFirst ? "" : ", every two frames"}${limits ? ", in windows" : ""}`,
    ...(limits ? { limits } : {}),
    record: (draw) => ({ dx: temporalPoolGradient(draw.input("dy", [B, pooled(T, keepFirst), ...rest]), { frames: T, keepFirst }) }),
    reference: (values) => ({ dx: temporalPoolGradientReference(shape, values, keepFirst) }),
  };
}

export const temporalPoolGradientCases: OpCases = {
  op: "temporal_pool_gradient",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-7, f16: 1e-3 },
  cases: [
    one("tiny", [1, 1, 1, 1, 4]),
    one("odd", [2, 2, 3, 2, 4]),
    one("odd", [2, 5, 3, 5, 8]),
    one("odd", [1, 3, 9, 8, 4], { maxBindingBytes: 2 * 9 * 8 * 16 + 1024 }),
    one("odd", [2, 5, 3, 5, 8], undefined, false),
    one("odd", [1, 5, 9, 8, 4], { maxBindingBytes: 1024 }, false),
    one("model", [1, 9, 12, 20, 128]),
  ],
};
