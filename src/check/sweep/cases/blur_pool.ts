/** blur_pool: the smallest pictures, odd and even sizes, windows of the binding. */
import { blurPool as kernel } from "#kernels";
import { blurPool } from "../../../ops/blur_pool.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";
import type { Five } from "./max_pool2d.ts";

/** Of every value of y: where in x its nine are, and their shares. */
export function blurred([B, T, H, W, C]: Five, each: (y: number, x: number, share: number) => void): number {
  const size = (n: number) => Math.floor((n + 4 - 3) / 2) + 1;
  const mirror = (i: number, n: number) => (i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i);
  const [h, w] = [size(H), size(W)];
  for (let f = 0; f < B * T; f++)
    for (let i = 0; i < h; i++)
      for (let j = 0; j < w; j++)
        for (let r = 0; r < 3; r++)
          for (let q = 0; q < 3; q++)
            for (let c = 0; c < C; c++) {
              const there = ((f * H + mirror(2 * i + r - 2, H)) * W + mirror(2 * j + q - 2, W)) * C + c;
              each(((f * h + i) * w + j) * C + c, there, ((r === 1 ? 2 : 1) * (q === 1 ? 2 : 1)) / 16);
            }
  return B * T * h * w * C;
}

export function blurPoolReference(shape: Five, { x }: Values): Float64Array {
  const y = new Float64Array(blurred(shape, () => undefined));
  blurred(shape, (at, there, share) => void (y[at]! += x![there]! * share));
  return y;
}

function one(size: Size, shape: Five, limits?: OpCase["limits"]): OpCase {
  return {
    size,
    name: `[${shape.join(", ")}]${limits ? ", in windows" : ""}`,
    ...(limits ? { limits } : {}),
    record: (draw) => ({ y: blurPool(draw.input("x", shape)) }),
    reference: (values) => ({ y: blurPoolReference(shape, values) }),
  };
}

export const blurPoolCases: OpCases = {
  op: "blur_pool",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-3 },
  cases: [
    one("tiny", [1, 1, 3, 3, 4]),
    one("odd", [2, 2, 4, 5, 4]),
    one("odd", [1, 3, 7, 6, 12]),
    one("odd", [1, 2, 5, 4, 8]),
    one("odd", [2, 2, 21, 22, 8], { maxBindingBytes: 4096, maxGrid: 7 }),
    one("odd", [3, 1, 4, 60, 4], { maxBindingBytes: 4096 }),
    one("model", [1, 4, 33, 33, 64]),
  ],
};
