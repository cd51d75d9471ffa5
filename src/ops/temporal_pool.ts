/** temporal_pool: the mean of every two frames; by default the first of an odd number stays as it is. Kernels: kernels/resample/. */
import { temporalPool as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { cut, window, windowFits, wrap } from "../plan/windows.ts";

export interface TemporalPoolOptions {
  /** The first of an odd number of frames stays as it is; else the last one is left out. Default true. */
  keepFirst?: boolean;
}
interface PoolAttrs {
  keepFirst: boolean;
}

/** x [B, T, H, W, C] → [B, ceil(T/2), H, W, C], floor(T/2) where the first of an odd number is not kept. */
export function temporalPool(x: Tensor, { keepFirst = true }: TemporalPoolOptions = {}): Tensor {
  return x.graph.record(temporalPoolOp, { x }, { keepFirst }).y;
}

export const temporalPoolOp: Op<{ x: Tensor }, PoolAttrs, "y"> = {
  name: "temporal_pool",
  infer({ x }, { keepFirst }) {
    if (x.shape.length !== 5 || x.dim(-1) % 4)
      throw new CogwheelError("temporal_pool", `x must be [B, T, H, W, C] with C padded to a multiple of 4, got [${x.shape.join(", ")}]`);
    if (!keepFirst && x.dim(1) < 2)
      throw new CogwheelError("temporal_pool", `the mean of two frames needs two, got x [${x.shape.join(", ")}]; keep the first frame`);
    return {
      y: { shape: [x.dim(0), keepFirst ? Math.ceil(x.dim(1) / 2) : Math.floor(x.dim(1) / 2), ...x.shape.slice(2)], dtype: x.dtype },
    };
  },
  cost({ inputs: { x }, outputs: { y } }) {
    return { flops: x.size, bytes: x.bytes + y.bytes };
  },
  reach: ({ attrs }, out) => ({ inputs: { x: out }, attrs }),
  lower({ inputs: { x }, attrs: { keepFirst }, outputs: { y } }, { caps }) {
    const [batches, tOut] = y.shape as [number, number];
    const t = x.dim(1);
    const single = keepFirst && t % 2 === 1;
    const plane = y.size / batches / tOut / 4;
    /** First frame of x, of all, under frame `frame` of y, of all. */
    const sourceOf = (frame: number) => Math.floor(frame / tOut) * t + Math.max(0, 2 * (frame % tOut) - +single);
    const range = (start: number, n: number) => {
      const [frame, last] = [Math.floor(start / plane), Math.floor((start + n - 1) / plane)];
      const first = sourceOf(frame) * plane + (frame === last ? start % plane : 0);
      return { first, count: (sourceOf(last) + (single && last % tOut === 0 ? 0 : 1)) * plane + ((start + n - 1) % plane) + 1 - first };
    };
    const parts = cut(
      y.size / 4,
      (start, n) => windowFits(y, start, n, caps) && windowFits(x, range(start, n).first, range(start, n).count, caps),
    );
    if (!parts)
      throw new CogwheelError(
        "temporal_pool",
        `two frames of x [${x.shape.join(", ")}] must fit a binding of ${caps.maxBindingBytes} bytes; choose a smaller picture`,
      );
    return parts.map(({ start, count }) => {
      const needed = range(start, count);
      const [from, to] = [window(x, needed.first, needed.count, caps), window(y, start, count, caps)];
      return dispatch({
        kernel,
        bindings: { x: from.view, y: to.view },
        params: { count, first: start, plane, t_in: t, t_out: tOut, x_base: wrap(from.base), y_base: wrap(to.base) },
        types: { X: x.dtype },
        consts: { KEEP_FIRST: +keepFirst },
        grid: foldGrid(Math.ceil(count / kernel.overrides.WG), caps),
      });
    });
  },
};
