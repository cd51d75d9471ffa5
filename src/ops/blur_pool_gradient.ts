/** blur_pool_gradient: dx of blur_pool. Kernels: kernels/resample/. */
import { blurPoolGradient as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { DType } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { wrap } from "../plan/windows.ts";
import { blurred } from "./blur_pool.ts";
import { assertPictures, pictureParts } from "./pool/pictures.ts";

interface Attrs {
  /** Of x: [B, T, H, W, C]. */
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** dy [B, T, H', W', C] of blur_pool → dx of `shape`, the shape of its x. */
export function blurPoolGradient(dy: Tensor, attrs: Attrs): Tensor {
  return dy.graph.record(blurPoolGradientOp, { dy }, attrs).dx;
}

export const blurPoolGradientOp: Op<{ dy: Tensor }, Attrs, "dx"> = {
  name: "blur_pool_gradient",
  infer({ dy }, { shape, dtype }) {
    assertPictures("blur_pool_gradient", dy);
    const expected = shape.map((size, axis) => (axis === 2 || axis === 3 ? blurred(size) : size));
    if (expected.join() !== dy.shape.join())
      throw new CogwheelError("blur_pool_gradient", `dy must be [${expected.join(", ")}] for x [${shape.join(", ")}], got ${dy}`);
    return { dx: { shape, dtype } };
  },
  cost: ({ inputs: { dy }, outputs: { dx } }) => ({ flops: 5 * dx.size, bytes: dy.bytes + dx.bytes }),
  lower({ inputs: { dy }, outputs: { dx } }, { caps }) {
    const [c4, wide, high, rows] = [dx.dim(-1) / 4, dx.dim(3), dx.dim(2), dy.dim(2)];
    const under = (row: number) =>
      [row <= 2 ? 0 : Math.ceil(row / 2), row >= high - 3 ? rows - 1 : Math.min(rows - 1, Math.floor(row / 2) + 1)] as const;
    return pictureParts("blur_pool_gradient", dx, [{ tensor: dy, under }], caps).map((part) => {
      const count = part.count * wide * c4;
      return dispatch({
        kernel,
        bindings: { dy: part.read[0]!.view, dx: part.written.view },
        params: {
          count,
          first: part.start * wide * c4,
          c4,
          h_in: high,
          w_in: wide,
          h_out: rows,
          w_out: dy.dim(3),
          dy_base: wrap(part.read[0]!.base),
          dx_base: wrap(part.written.base),
        },
        types: { G: dy.dtype, Y: dx.dtype },
        grid: foldGrid(Math.ceil(count / kernel.overrides.WG), caps),
      });
    });
  },
};
