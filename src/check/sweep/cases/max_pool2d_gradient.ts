/** max_pool2d_gradient: overlapping windows, equal values in a window, sizes with a rest, windows of the binding. */
import { maxPool2dGradient as kernel } from "#kernels";
import { maxPool2d, type MaxPool2dAttrs } from "../../../ops/max_pool2d.ts";
import { maxPool2dGradient } from "../../../ops/max_pool2d_gradient.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";
import { type Five, maxPool2dReference } from "./max_pool2d.ts";

export function maxPool2dGradientReference(shape: Five, attrs: MaxPool2dAttrs, values: Values): Float64Array {
  const dx = new Float64Array(values["x"]!.length);
  const { from } = maxPool2dReference(shape, attrs, values);
  for (const [at, there] of from.entries()) dx[there]! += values["dy"]![at]!;
  return dx;
}

/** `levels`: x has so many values, so that many are equal. */
function one(size: Size, shape: Five, attrs: MaxPool2dAttrs, { levels = 0, ...more }: Partial<OpCase> & { levels?: number } = {}): OpCase {
  const count = shape.reduce((a, b) => a * b);
  const data = levels ? { data: Float32Array.from({ length: count }, (_, i) => ((i * 7919) % 104729) % levels) } : {};
  return {
    size,
    name:
      `[${shape.join(", ")}], ${attrs.kernel} every ${attrs.stride}` +
      `${levels ? `, ${levels} values` : ""}${more.half ? `, f16: ${more.half.join(", ")}` : ""}${more.limits ? ", in windows" : ""}`,
    record: (draw) => {
      const x = draw.input("x", shape, data);
      const y = maxPool2d(x, attrs);
      return { dx: maxPool2dGradient(x, y, draw.input("dy", y.shape), { ...attrs, dtype: draw.type("dx") }) };
    },
    reference: (values) => ({ dx: maxPool2dGradientReference(shape, attrs, values) }),
    ...more,
  };
}

export const maxPool2dGradientCases: OpCases = {
  op: "max_pool2d_gradient",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-3 },
  cases: [
    one("tiny", [1, 1, 2, 2, 4], { kernel: 2, stride: 2 }),
    one("odd", [2, 3, 5, 7, 8], { kernel: 2, stride: 2 }, { levels: 3 }),
    one("odd", [1, 2, 6, 5, 4], { kernel: 2, stride: 1 }, { levels: 2 }),
    one("odd", [1, 2, 7, 9, 12], { kernel: 3, stride: 1 }, { half: ["x"] }),
    one("odd", [2, 1, 9, 8, 4], { kernel: 3, stride: 2 }, { levels: 4, half: ["dy"] }),
    one("odd", [2, 2, 19, 23, 8], { kernel: 2, stride: 2 }, { limits: { maxBindingBytes: 4096, maxGrid: 7 } }),
    one("odd", [2, 2, 19, 23, 8], { kernel: 3, stride: 1 }, { levels: 5, limits: { maxBindingBytes: 4096 } }),
    one("model", [1, 4, 32, 32, 64], { kernel: 2, stride: 2 }),
  ],
};
