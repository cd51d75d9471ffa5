/** max_pool2d: the largest of each window of every picture. Kernels: kernels/resample/. */
import { maxPool2d as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { wrap } from "../plan/windows.ts";
import { assertPictures, pictureParts } from "./pool/pictures.ts";

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
    const [c4, wide] = [x.dim(-1) / 4, y.dim(3)];
    return pictureParts("max_pool2d", y, [{ tensor: x, under: (row) => [row * S, row * S + K - 1] }], caps).map((part) => {
      const count = part.count * wide * c4;
      return dispatch({
        kernel,
        bindings: { x: part.read[0]!.view, y: part.written.view },
        params: {
          count,
          first: part.start * wide * c4,
          c4,
          h_in: x.dim(2),
          w_in: x.dim(3),
          h_out: y.dim(2),
          w_out: wide,
          x_base: wrap(part.read[0]!.base),
          y_base: wrap(part.written.base),
        },
        types: { X: x.dtype },
        consts: { K, S },
        grid: foldGrid(Math.ceil(count / kernel.overrides.WG), caps),
      });
    });
  },
};
