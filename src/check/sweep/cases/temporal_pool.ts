/** temporal_pool: odd and even frames, with the first kept and not, windows. */
import { temporalPool as kernel } from "#kernels";
import { temporalPool } from "../../../ops/temporal_pool.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

type Five = readonly [number, number, number, number, number];
const title = (shape: readonly number[], keepFirst: boolean, limits?: OpCase["limits"]): string =>
  `[${shape.join(", ")}]${keepFirst ? "" : ", every two frames"}${limits ? ", in windows" : ""}`;

export function temporalPoolReference([B, T, H, W, C]: Five, { x }: Values, keepFirst = true): Float64Array {
  const plane = H * W * C;
  const single = keepFirst ? T % 2 : 0;
  const frames = Math.floor(T / 2) + single;
  const out = new Float64Array(B * frames * plane);
  for (let b = 0; b < B; b++)
    for (let t = 0; t < frames; t++)
      for (let i = 0; i < plane; i++) {
        const first = Math.max(0, 2 * t - single);
        const second = single && t === 0 ? 0 : first + 1;
        out[(b * frames + t) * plane + i] = (x![(b * T + first) * plane + i]! + x![(b * T + second) * plane + i]!) / 2;
      }
  return out;
}

function one(size: Size, shape: Five, limits?: OpCase["limits"], keepFirst = true): OpCase {
  return {
    size,
    name: title(shape, keepFirst, limits),
    ...(limits ? { limits } : {}),
    record: (draw) => ({ y: temporalPool(draw.input("x", shape), keepFirst ? {} : { keepFirst }) }),
    reference: (values) => ({ y: temporalPoolReference(shape, values, keepFirst) }),
  };
}

export const temporalPoolCases: OpCases = {
  op: "temporal_pool",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-7, f16: 1e-3 },
  cases: [
    one("tiny", [1, 1, 1, 1, 4]),
    one("odd", [2, 2, 3, 2, 4]),
    one("odd", [2, 5, 3, 5, 8]),
    one("odd", [1, 8, 4, 6, 4]),
    one("odd", [1, 3, 9, 8, 4], { maxBindingBytes: 2 * 9 * 8 * 16 + 1024 }),
    one("odd", [2, 5, 3, 5, 8], undefined, false),
    one("odd", [1, 5, 9, 8, 4], { maxBindingBytes: 2 * 9 * 8 * 16 + 1024 }, false),
    one("model", [1, 8, 12, 20, 128]),
    one("model", [1, 9, 12, 20, 128]),
  ],
};
