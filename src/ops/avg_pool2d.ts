/** avg_pool2d: the mean of each window of every picture, windows side by side. Kernels: kernels/resample/. */
import { avgPool2d as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { assertPictures, poolDispatches } from "./pool/pictures.ts";

/** Rows and columns of a window. */
export interface AvgPool2dAttrs {
  readonly rows: number;
  readonly columns: number;
}

/** x [B, T, H, W, C] → [B, T, ⌊H / rows⌋, ⌊W / columns⌋, C], of the type of x; what is left at the ends is in no window. */
export function avgPool2d(x: Tensor, attrs: AvgPool2dAttrs): Tensor {
  return x.graph.record(avgPool2dOp, { x }, { ...attrs }).y;
}

export const avgPool2dOp: Op<{ x: Tensor }, AvgPool2dAttrs, "y"> = {
  name: "avg_pool2d",
  infer({ x }, { rows, columns }) {
    assertPictures("avg_pool2d", x);
    const [b, t, h, w, c] = x.shape as [number, number, number, number, number];
    if (![rows, columns].every((n) => Number.isInteger(n) && n >= 1) || rows > h || columns > w)
      throw new CogwheelError(
        "avg_pool2d",
        `a window must have 1 row to ${h} and 1 column to ${w}, got ${rows} × ${columns} for x [${x.shape.join(", ")}]; give a smaller one`,
      );
    return { y: { shape: [b, t, Math.floor(h / rows), Math.floor(w / columns), c], dtype: x.dtype } };
  },
  cost: ({ inputs: { x }, attrs: { rows, columns }, outputs: { y } }) => ({ flops: rows * columns * y.size, bytes: x.bytes + y.bytes }),
  lower({ inputs: { x }, attrs: { rows: KH, columns: KW }, outputs: { y } }, { caps }) {
    return poolDispatches(kernel, x, y, (row) => [row * KH, row * KH + KH - 1], caps, { KH, KW });
  },
};
