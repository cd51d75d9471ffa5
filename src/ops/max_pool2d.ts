/** max_pool2d: the largest of each window of every picture. Kernels: kernels/resample/. */
import { maxPool2d as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { assertPictures, poolDispatches } from "./pool/pictures.ts";

/** Sides of a window, and rows and columns from one to the next; no window overhangs the picture. */
export interface MaxPool2dAttrs {
  readonly kernel: number;
  readonly stride: number;
}

/** x [B, T, H, W, C] → [B, T, ⌊(H − kernel) / stride⌋ + 1, …, C], of the type of x. */
export function maxPool2d(x: Tensor, attrs: MaxPool2dAttrs): Tensor {
  return x.graph.record(maxPool2dOp, { x }, { ...attrs }).y;
}

/** Rows (or columns) of the result. */
const pooled = (size: number, { kernel, stride }: MaxPool2dAttrs): number => Math.floor((size - kernel) / stride) + 1;

export const maxPool2dOp: Op<{ x: Tensor }, MaxPool2dAttrs, "y"> = {
  name: "max_pool2d",
  infer({ x }, attrs) {
    const { kernel: k, stride } = attrs;
    assertPictures("max_pool2d", x);
    const [b, t, h, w, c] = x.shape as [number, number, number, number, number];
    if (!Number.isInteger(k) || !Number.isInteger(stride) || k < 1 || stride < 1 || k > 8 || stride > k)
      throw new CogwheelError(
        "max_pool2d",
        `kernel must be a whole number from 1 to 8 and stride one from 1 to the kernel, got ${k} and ${stride}; give others`,
      );
    if (h < k || w < k)
      throw new CogwheelError(
        "max_pool2d",
        `a picture must hold a window of ${k} × ${k}, got ${h} × ${w} in x [${x.shape.join(", ")}]; use a larger one`,
      );
    return { y: { shape: [b, t, pooled(h, attrs), pooled(w, attrs), c], dtype: x.dtype } };
  },
  cost: ({ inputs: { x }, attrs: { kernel: k }, outputs: { y } }) => ({ flops: k * k * y.size, bytes: x.bytes + y.bytes }),
  lower({ inputs: { x }, attrs: { kernel: K, stride: S }, outputs: { y } }, { caps }) {
    return poolDispatches(kernel, x, y, (row) => [row * S, row * S + K - 1], caps, { K, S });
  },
};
