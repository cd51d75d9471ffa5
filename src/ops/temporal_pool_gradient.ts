/** temporal_pool_gradient: half of each frame's gradient to both frames that it is the mean of. Kernels: kernels/resample/. */
import { CogwheelError } from "../base/errors.ts";
import { isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { frameSums } from "./frames/sums.ts";

interface Attrs {
  /** Of what was pooled. */
  frames: number;
  keepFirst: boolean;
}

/** dy [B, T', H, W, C], f32 or f16 → dx [B, frames, H, W, C] of its type; zeros for a frame that was left out. */
export function temporalPoolGradient(dy: Tensor, attrs: Attrs): Tensor {
  return dy.graph.record(temporalPoolGradientOp, { dy }, attrs).dx;
}

export const temporalPoolGradientOp: Op<{ dy: Tensor }, Attrs, "dx"> = {
  name: "temporal_pool_gradient",
  infer({ dy }, { frames, keepFirst }) {
    const pooled = keepFirst ? Math.ceil(frames / 2) : Math.floor(frames / 2);
    if (dy.shape.length !== 5 || dy.dim(-1) % 4 || !isFloat(dy) || dy.dim(1) !== pooled)
      throw new CogwheelError(
        "temporal_pool_gradient",
        `dy must be f32 or f16 [B, ${pooled}, H, W, C] of ${frames} frames, with C padded to a multiple of 4, got ${dy}`,
      );
    return { dx: { shape: [dy.dim(0), frames, ...dy.shape.slice(2)], dtype: dy.dtype } };
  },
  cost: ({ inputs: { dy }, outputs: { dx } }) => ({ flops: dx.size, bytes: dy.bytes + dx.bytes }),
  lower({ inputs: { dy }, attrs: { frames, keepFirst }, outputs: { dx } }, target) {
    const single = +(keepFirst && frames % 2 === 1);
    const run = (t: number) => {
      const first = (t + single) >> 1;
      return { first, count: +(first < dy.dim(1)), factor: single && t === 0 ? 1 : 0.5 };
    };
    return frameSums(dy, dx, run, target);
  },
};
