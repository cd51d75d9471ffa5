/** max_pool2d: windows side by side and overlapping, sizes with a rest, windows of the binding. */
import { maxPool2d as kernel } from "#kernels";
import { maxPool2d, type MaxPool2dAttrs } from "../../../ops/max_pool2d.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export type Five = readonly [number, number, number, number, number];

/** By the definition; `from`: where in x each value of y is, the first of equal ones. */
export function maxPool2dReference([B, T, H, W, C]: Five, { kernel: k, stride: s }: MaxPool2dAttrs, { x }: Values) {
  const [h, w] = [Math.floor((H - k) / s) + 1, Math.floor((W - k) / s) + 1];
  const y = new Float64Array(B * T * h * w * C);
  const from = new Uint32Array(y.length);
  for (let at = 0; at < y.length; at++) {
    const [c, j, i, frame] = [at % C, Math.floor(at / C) % w, Math.floor(at / C / w) % h, Math.floor(at / C / w / h)];
    let most = -Infinity;
    for (let r = 0; r < k; r++)
      for (let q = 0; q < k; q++) {
        const there = ((frame * H + i * s + r) * W + j * s + q) * C + c;
        if (x![there]! > most) [most, from[at]] = [x![there]!, there];
      }
    y[at] = most;
  }
  return { y, from };
}

/** Values that are apart from each other, in no order. */
const apart = (count: number): Float32Array => Float32Array.from({ length: count }, (_, i) => ((i * 7919) % count) / 64 - 4);

function one(size: Size, shape: Five, attrs: MaxPool2dAttrs, limits?: OpCase["limits"]): OpCase {
  return {
    size,
    name: `[${shape.join(", ")}], ${attrs.kernel} every ${attrs.stride}${limits ? ", in windows" : ""}`,
    ...(limits ? { limits } : {}),
    record: (draw) => ({ y: maxPool2d(draw.input("x", shape, { data: apart(shape.reduce((a, b) => a * b)) }), attrs) }),
    reference: (values) => ({ y: maxPool2dReference(shape, attrs, values).y }),
  };
}

export const maxPool2dCases: OpCases = {
  op: "max_pool2d",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-7, f16: 1e-7 },
  cases: [
    one("tiny", [1, 1, 2, 2, 4], { kernel: 2, stride: 2 }),
    one("odd", [2, 3, 5, 7, 8], { kernel: 2, stride: 2 }),
    one("odd", [1, 2, 6, 5, 4], { kernel: 2, stride: 1 }),
    one("odd", [1, 2, 7, 9, 12], { kernel: 3, stride: 1 }),
    one("odd", [2, 1, 9, 8, 4], { kernel: 3, stride: 2 }),
    one("odd", [2, 2, 19, 23, 8], { kernel: 2, stride: 2 }, { maxBindingBytes: 4096, maxGrid: 7 }),
    one("odd", [2, 2, 19, 23, 8], { kernel: 3, stride: 1 }, { maxBindingBytes: 4096 }),
    one("model", [1, 4, 32, 32, 64], { kernel: 2, stride: 2 }),
  ],
};
