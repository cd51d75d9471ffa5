/** causal_cache: the frames that a causal convolution over the next batch of frames will look back on. Kernels: kernels/resample/. */
import { copyVectors as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Dispatch, Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { cut, window, windowFits, wrap } from "../plan/windows.ts";

interface CacheInputs {
  x: Tensor;
  cache: Tensor | undefined;
}

/**
 * The last `frames` frames of what a convolution over x [B, T, H, W, C] sees in time: `cache` [B, frames, H, W, C] (default: the
 * first frame of x, repeated), then x.
 */
export function causalCache(x: Tensor, frames: number, cache?: Tensor): Tensor {
  // Of a batch of so many frames nothing before it is kept.
  return x.graph.record(causalCacheOp, { x, cache: x.dim(1) < frames ? cache : undefined }, { frames }).y;
}

export const causalCacheOp: Op<CacheInputs, { frames: number }, "y"> = {
  name: "causal_cache",
  infer({ x, cache }, { frames }) {
    const shape = [x.dim(0), frames, ...x.shape.slice(2)];
    if (x.shape.length !== 5 || x.dim(-1) % 4)
      throw new CogwheelError("causal_cache", `x must be [B, T, H, W, C] with C padded to a multiple of 4, got [${x.shape.join(", ")}]`);
    if (cache && (cache.shape.join() !== shape.join() || cache.dtype !== x.dtype))
      throw new CogwheelError(
        "causal_cache",
        `the cache must be ${x.dtype} [${shape.join(", ")}], got ${cache.dtype} [${cache.shape.join(", ")}]`,
      );
    return { y: { shape, dtype: x.dtype } };
  },
  cost({ outputs: { y } }) {
    return { flops: 0, bytes: 2 * y.bytes };
  },
  reach: ({ attrs }, out) => ({ inputs: { x: out, cache: out }, attrs }),
  lower({ inputs: { x, cache }, attrs: { frames }, outputs: { y } }, { caps }) {
    const [batches, t] = x.shape as [number, number];
    const plane = x.size / batches / t / 4;
    // Runs of frames that lie side by side in their source.
    const runs: { source: Tensor; from: number; to: number; count: number }[] = [];
    for (let b = 0; b < batches; b++)
      for (let i = 0; i < frames; i++) {
        const at = t + i - frames;
        const [source, frame] = at >= 0 || !cache ? [x, b * t + Math.max(at, 0)] : [cache, b * frames + at + frames];
        const last = runs.at(-1);
        if (last && last.source === source && last.from + last.count === frame) last.count++;
        else runs.push({ source, from: frame, to: b * frames + i, count: 1 });
      }
    const PER = caps.kind === "software" ? 16 : 1;
    return runs.flatMap(({ source, from, to, count }): Dispatch[] => {
      const parts = cut(
        count * plane,
        (start, n) => windowFits(source, from * plane + start, n, caps) && windowFits(y, to * plane + start, n, caps),
      )!;
      return parts.map((part) => {
        const [first, target] = [from * plane + part.start, to * plane + part.start];
        const [read, written] = [window(source, first, part.count, caps), window(y, target, part.count, caps)];
        return dispatch({
          kernel,
          bindings: { x: read.view, y: written.view },
          params: { count: part.count, x_base: wrap(read.base + first), y_base: wrap(written.base + target) },
          types: { X: x.dtype },
          overrides: { PER },
          grid: foldGrid(Math.ceil(part.count / (kernel.overrides.WG * PER)), caps),
        });
      });
    });
  },
};
