/** blur_pool: every second row and column of every picture after a small blur, which does not alias. Kernels: kernels/resample/. */
import { blurPool as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { wrap } from "../plan/windows.ts";
import { assertPictures, pictureParts } from "./pool/pictures.ts";

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
    const [c4, wide, rows] = [x.dim(-1) / 4, y.dim(3), x.dim(2)];
    const under = (row: number) => [Math.max(0, Math.min(2 * row - 2, rows - 3)), Math.min(rows - 1, Math.max(2 * row, 2))] as const;
    return pictureParts("blur_pool", y, [{ tensor: x, under }], caps).map((part) => {
      const count = part.count * wide * c4;
      return dispatch({
        kernel,
        bindings: { x: part.read[0]!.view, y: part.written.view },
        params: {
          count,
          first: part.start * wide * c4,
          c4,
          h_in: rows,
          w_in: x.dim(3),
          h_out: y.dim(2),
          w_out: wide,
          x_base: wrap(part.read[0]!.base),
          y_base: wrap(part.written.base),
        },
        types: { X: x.dtype },
        grid: foldGrid(Math.ceil(count / kernel.overrides.WG), caps),
      });
    });
  },
};
