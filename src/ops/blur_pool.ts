/** blur_pool: every second row and column of every picture after a small blur, which does not alias. Kernels: kernels/resample/. */
import { blurPool as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { assertPictures, poolDispatches } from "./pool/pictures.ts";

/** The filter along rows and along columns, over 4. */
export const BLUR = [1, 2, 1] as const;

/** x [B, T, H, W, C] → [B, T, ⌊(H + 1) / 2⌋ + 1, …, C], of the type of x: the filter {@link BLUR} over x with 2 mirrored rows around. */
export function blurPool(x: Tensor): Tensor {
  return x.graph.record(blurPoolOp, { x }, {}).y;
}

/** Rows (or columns) of the result. */
export const blurred = (size: number): number => Math.floor((size + 1) / 2) + 1;

export const blurPoolOp: Op<{ x: Tensor }, object, "y"> = {
  name: "blur_pool",
  infer({ x }) {
    assertPictures("blur_pool", x);
    const [b, t, h, w, c] = x.shape as [number, number, number, number, number];
    if (h < 3 || w < 3)
      throw new CogwheelError(
        "blur_pool",
        `a picture must have 3 rows and columns, of which 2 are mirrored, got ${h} × ${w} in x [${x.shape.join(", ")}]; use a larger one`,
      );
    return { y: { shape: [b, t, blurred(h), blurred(w), c], dtype: x.dtype } };
  },
  cost: ({ inputs: { x }, outputs: { y } }) => ({ flops: 13 * y.size, bytes: x.bytes + y.bytes }),
  lower({ inputs: { x }, outputs: { y } }, { caps }) {
    const rows = x.dim(2);
    const under = (row: number) => [Math.max(0, Math.min(2 * row - 2, rows - 3)), Math.min(rows - 1, Math.max(2 * row, 2))] as const;
    return poolDispatches(kernel, x, y, under, caps);
  },
};
