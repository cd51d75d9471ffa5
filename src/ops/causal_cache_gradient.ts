/** causal_cache_gradient: the gradient of kept frames, sent to where they were taken from. Kernels: kernels/resample/. */
import { CogwheelError } from "../base/errors.ts";
import { isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor, TensorSpec } from "../graph/tensor.ts";
import { frameSums } from "./frames/sums.ts";

interface Attrs {
  /** Of x. */
  frames: number;
  /** Was there a cache before x? Else its first frame stood there. */
  cached: boolean;
}

/**
 * dy [B, kept, H, W, C], f32 or f16, of causalCache → dx [B, frames, H, W, C], and dcache of the shape of dy where there was a cache; both
 * of the type of dy, zeros for what was not kept.
 */
export function causalCacheGradient(dy: Tensor, attrs: Attrs): { dx: Tensor; dcache?: Tensor } {
  return dy.graph.record(causalCacheGradientOp, { dy }, attrs);
}

export const causalCacheGradientOp: Op<{ dy: Tensor }, Attrs, "dx" | "dcache"> = {
  name: "causal_cache_gradient",
  infer({ dy }, { frames, cached }) {
    if (dy.shape.length !== 5 || dy.dim(-1) % 4 || !isFloat(dy))
      throw new CogwheelError("causal_cache_gradient", `dy must be f32 or f16 [B, kept, H, W, C], C padded to a multiple of 4, got ${dy}`);
    const spec = (count: number): TensorSpec => ({ shape: [dy.dim(0), count, ...dy.shape.slice(2)], dtype: dy.dtype });
    return { dx: spec(frames), ...(cached ? { dcache: spec(dy.dim(1)) } : {}) } as Record<"dx" | "dcache", TensorSpec>;
  },
  cost: ({ inputs: { dy }, outputs: { dx, dcache } }) => ({
    flops: dy.size,
    bytes: dy.bytes + dx.bytes + ((dcache as Tensor | undefined)?.bytes ?? 0),
  }),
  lower({ inputs: { dy }, attrs: { frames, cached }, outputs: { dx, dcache } }, target) {
    const kept = dy.dim(1);
    // Kept frame i is frame `frames + i − kept` of x; before the first one stands the cache, or the first frame once more.
    const missing = Math.max(0, kept - frames);
    const ofX = (t: number) => {
      const i = t - frames + kept;
      const repeated = t === 0 && !cached ? missing : 0;
      return { first: Math.max(0, i - repeated), count: i < 0 ? 0 : 1 + repeated, factor: 1 };
    };
    return [
      ...frameSums(dy, dx, ofX, target),
      ...(cached ? frameSums(dy, dcache, (j) => ({ first: Math.max(0, j - frames), count: +(j >= frames), factor: 1 }), target) : []),
    ];
  },
};
