/** temporal_pool: the mean of every two frames; of an odd number the first stays as it is. */
import { temporalPool as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { cut, window, windowFits, wrap } from "../plan/windows.ts";

/** x [B, T, H, W, C] → [B, ceil(T/2), H, W, C] */
export function temporalPool(x: Tensor): Tensor {
  return x.graph.record(temporalPoolOp, { x }, {}).y;
}

export const temporalPoolOp: Op<{ x: Tensor }, object, "y"> = {
  name: "temporal_pool",
  infer({ x }) {
    if (x.shape.length !== 5 || x.dim(-1) % 4)
      throw new CogwheelError("temporal_pool", `x must be [B, T, H, W, C] with C padded to a multiple of 4, got [${x.shape.join(", ")}]`);
    return { y: { shape: [x.dim(0), Math.ceil(x.dim(1) / 2), ...x.shape.slice(2)], dtype: x.dtype } };
  },
  cost({ inputs: { x }, outputs: { y } }) {
    return { flops: x.size, bytes: x.bytes + y.bytes };
  },
  lower({ inputs: { x }, outputs: { y } }, { caps }) {
    const [batches, tOut] = y.shape as [number, number];
    const t = x.dim(1);
    const plane = y.size / batches / tOut / 4;
    /** First frame of x, of all, under frame `frame` of y, of all. */
    const sourceOf = (frame: number) => Math.floor(frame / tOut) * t + Math.max(0, 2 * (frame % tOut) - (t % 2));
    const range = (start: number, n: number) => {
      const [frame, last] = [Math.floor(start / plane), Math.floor((start + n - 1) / plane)];
      const single = t % 2 === 1 && last % tOut === 0;
      const first = sourceOf(frame) * plane + (frame === last ? start % plane : 0);
      return { first, count: (sourceOf(last) + (single ? 0 : 1)) * plane + ((start + n - 1) % plane) + 1 - first };
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
        grid: foldGrid(Math.ceil(count / kernel.overrides.WG), caps),
      });
    });
  },
};
