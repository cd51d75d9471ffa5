/** nearest_upsample: odd and even frames, in time and not, windows. */
import { nearestUpsample as kernel } from "#kernels";
import { nearestUpsample } from "../../../ops/nearest_upsample.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

type Five = readonly [number, number, number, number, number];
const title = (shape: readonly number[], limits?: OpCase["limits"]): string => `[${shape.join(", ")}]${limits ? ", in windows" : ""}`;

export interface UpsampleSizes {
  readonly x: Five;
  readonly time: boolean;
  /** The first of an odd number of frames stays single. Default true. */
  readonly keepFirst?: boolean;
}

export function nearestUpsampleReference({ x: [B, T, H, W, C], time, keepFirst = true }: UpsampleSizes, { x }: Values): Float64Array {
  const frames = Array.from({ length: T }, (_, t) => (!time || (keepFirst && T % 2 && t === 0) ? [t] : [t, t])).flat();
  const out = new Float64Array(B * frames.length * 4 * H * W * C);
  let o = 0;
  for (let b = 0; b < B; b++)
    for (const t of frames)
      for (let h = 0; h < 2 * H; h++)
        for (let w = 0; w < 2 * W; w++, o += C) {
          const at = (((b * T + t) * H + (h >> 1)) * W + (w >> 1)) * C;
          out.set(x!.subarray(at, at + C), o);
        }
  return out;
}

function one(size: Size, sizes: UpsampleSizes, limits?: OpCase["limits"]): OpCase {
  return {
    size,
    name: `${title(sizes.x, limits)}${sizes.time ? ", in time too" : ""}${sizes.keepFirst === false ? ", every frame" : ""}`,
    ...(limits ? { limits } : {}),
    record: (draw) => ({
      y: nearestUpsample(draw.input("x", sizes.x), {
        time: sizes.time,
        ...(sizes.keepFirst === false ? { keepFirst: false } : {}),
      }),
    }),
    reference: (values) => ({ y: nearestUpsampleReference(sizes, values) }),
  };
}

export const nearestUpsampleCases: OpCases = {
  op: "nearest_upsample",
  kernels: oneKernel(kernel),
  tolerance: { f32: 0, f16: 0 },
  cases: [
    one("tiny", { x: [1, 1, 1, 1, 4], time: true }),
    one("odd", { x: [2, 2, 3, 5, 4], time: false }),
    one("odd", { x: [2, 3, 3, 2, 8], time: true }),
    one("odd", { x: [1, 4, 2, 3, 12], time: true }),
    one("odd", { x: [1, 5, 9, 7, 4], time: true }, { maxBindingBytes: 1024 }),
    one("odd", { x: [2, 3, 3, 2, 8], time: true, keepFirst: false }),
    one("odd", { x: [1, 1, 2, 3, 4], time: true, keepFirst: false }),
    one("odd", { x: [1, 5, 9, 7, 4], time: true, keepFirst: false }, { maxBindingBytes: 1024 }),
    one("model", { x: [1, 3, 6, 10, 512], time: true }),
  ],
};
