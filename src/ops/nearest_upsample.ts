/** nearest_upsample: rows and columns doubled; with `time`, frames too. Kernels: kernels/resample/. */
import { nearestUpsample as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { upsampledFrames } from "./conv3d/geometry.ts";
import { cut, window, windowFits, wrap } from "../plan/windows.ts";

export interface NearestUpsampleOptions {
  /** Doubles the frames too. */
  time: boolean;
  /** When frames are doubled, the first of an odd number stays single. Default true. */
  keepFirst?: boolean;
}
type UpsampleAttrs = Required<NearestUpsampleOptions>;

/** x [B, T, H, W, C] → [B, T', 2H, 2W, C]. A convolution that follows can do this while it reads (`conv3d`, upsample). */
export function nearestUpsample(x: Tensor, { time, keepFirst = true }: NearestUpsampleOptions): Tensor {
  return x.graph.record(nearestUpsampleOp, { x }, { time, keepFirst }).y;
}

export const nearestUpsampleOp: Op<{ x: Tensor }, UpsampleAttrs, "y"> = {
  name: "nearest_upsample",
  infer({ x }, { time, keepFirst }) {
    if (x.shape.length !== 5 || x.dim(-1) % 4)
      throw new CogwheelError(
        "nearest_upsample",
        `x must be [B, T, H, W, C] with C padded to a multiple of 4, got [${x.shape.join(", ")}]`,
      );
    const [b, t, h, w, c] = x.shape as [number, number, number, number, number];
    return { y: { shape: [b, time ? upsampledFrames(t, keepFirst) : t, 2 * h, 2 * w, c], dtype: x.dtype } };
  },
  cost({ inputs: { x }, outputs: { y } }) {
    return { flops: 0, bytes: x.bytes + y.bytes };
  },
  lower({ inputs: { x }, attrs: { keepFirst }, outputs: { y } }, { caps }) {
    const [batches, tOut, hOut, wOut, c] = y.shape as [number, number, number, number, number];
    const t = x.dim(1);
    const firstApart = keepFirst && tOut !== t && t % 2 === 1;
    const rowOf = (row: number): number => {
      const frame = Math.floor(row / hOut);
      const within = frame % tOut;
      const source = tOut === t ? within : (within + +firstApart) >> 1;
      return (Math.floor(frame / tOut) * t + source) * (hOut / 2) + ((row % hOut) >> 1);
    };
    const [rowVectors, sourceVectors] = [(wOut * c) / 4, (wOut * c) / 8];
    /** Rows of x under rows start … start + n − 1 of y; the frames of y may go back to one frame of x twice. */
    const read = (start: number, n: number) => {
      let [first, last] = [Infinity, 0];
      for (const row of [
        start,
        ...Array.from({ length: Math.ceil(n / hOut) }, (_, i) => Math.ceil((start + 1) / hOut + i) * hOut).flatMap((r) => [r - 1, r]),
        start + n - 1,
      ]) {
        if (row < start || row >= start + n) continue;
        first = Math.min(first, rowOf(row));
        last = Math.max(last, rowOf(row));
      }
      return { first: first * sourceVectors, count: (last - first + 1) * sourceVectors };
    };
    const parts = cut(
      batches * tOut * hOut,
      (start, n) =>
        windowFits(y, start * rowVectors, n * rowVectors, caps) && windowFits(x, read(start, n).first, read(start, n).count, caps),
    );
    if (!parts)
      throw new CogwheelError(
        "nearest_upsample",
        `one row of y [${y.shape.join(", ")}] must fit a binding of ${caps.maxBindingBytes} bytes; choose a narrower picture`,
      );
    return parts.map(({ start, count }) => {
      const needed = read(start, count);
      const [from, to] = [window(x, needed.first, needed.count, caps), window(y, start * rowVectors, count * rowVectors, caps)];
      return dispatch({
        kernel,
        bindings: { x: from.view, y: to.view },
        params: {
          count: count * rowVectors,
          first: start * rowVectors,
          c4: c / 4,
          t_in: t,
          t_out: tOut,
          h_out: hOut,
          w_out: wOut,
          x_base: wrap(from.base),
          y_base: wrap(to.base),
        },
        types: { X: x.dtype },
        consts: { DOUBLED_FRAMES: +(tOut !== t), FIRST_APART: +firstApart },
        grid: foldGrid(Math.ceil((count * rowVectors) / kernel.overrides.WG), caps),
      });
    });
  },
};
