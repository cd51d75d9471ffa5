/** frame_similarity: how alike each frame is to those around it, as cosines of their features. Kernels: kernels/reduce/. */
import { frameSimilarity as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import { padTo } from "../graph/packing.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";

/** Frames that each is compared with: itself in the middle, so an odd number. */
export interface FrameSimilarityAttrs {
  readonly window: number;
}

/**
 * x [T, C] f32 or f16 → f32 [T, window padded to 4]: column j of row t is the cosine of frames t and t + j − (window − 1) / 2, and 0 where
 * there is no such frame.
 */
export function frameSimilarity(x: Tensor, window: number): Tensor {
  return x.graph.record(frameSimilarityOp, { x }, { window }).y;
}

export const frameSimilarityOp: Op<{ x: Tensor }, FrameSimilarityAttrs, "y"> = {
  name: "frame_similarity",
  infer({ x }, { window }) {
    if (x.shape.length !== 2 || !isFloat(x) || x.dim(1) % 4)
      throw new CogwheelError("frame_similarity", `x must be f32 or f16 [T, C] with C a multiple of 4, got ${x}; reshape or pad it`);
    if (!Number.isInteger(window) || window < 1 || window % 2 === 0)
      throw new CogwheelError("frame_similarity", `the window must be an odd number of frames, got ${window}; 101 is usual`);
    return { y: { shape: [x.dim(0), padTo(window, 4)], dtype: "f32" } };
  },
  cost: ({ inputs: { x }, outputs: { y } }) => ({ flops: 6 * y.size * x.dim(1), bytes: x.bytes + y.bytes }),
  lower({ inputs: { x }, attrs: { window }, outputs: { y } }, { caps }) {
    return [
      dispatch({
        kernel,
        types: { X: x.dtype },
        params: { count: y.size, frames: x.dim(0), columns: y.dim(1), radius: (window - 1) / 2, c4: x.dim(1) / 4 },
        bindings: { x, y },
        grid: foldGrid(Math.ceil(y.size / kernel.overrides.WG), caps),
      }),
    ];
  },
};
