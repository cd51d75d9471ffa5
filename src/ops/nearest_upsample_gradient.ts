/** nearest_upsample_gradient: what the copies of a position get, added up. Kernels: kernels/resample/. */
import { nearestUpsampleGradient as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { cut, type Window, window, windowFits, wrap } from "../plan/windows.ts";
import { upsampledFrames } from "./conv3d/geometry.ts";

interface Attrs {
  /** Of what was upsampled. */
  frames: number;
  time: boolean;
  keepFirst: boolean;
}

/** dy [B, T', 2H, 2W, C], f32 or f16 → dx [B, frames, H, W, C] of its type. */
export function nearestUpsampleGradient(dy: Tensor, attrs: Attrs): Tensor {
  return dy.graph.record(nearestUpsampleGradientOp, { dy }, attrs).dx;
}

export const nearestUpsampleGradientOp: Op<{ dy: Tensor }, Attrs, "dx"> = {
  name: "nearest_upsample_gradient",
  infer({ dy }, { frames, time, keepFirst }) {
    const tOut = time ? upsampledFrames(frames, keepFirst) : frames;
    if (dy.shape.length !== 5 || dy.dim(-1) % 4 || !isFloat(dy) || dy.dim(1) !== tOut || dy.dim(2) % 2 || dy.dim(3) % 2)
      throw new CogwheelError(
        "nearest_upsample_gradient",
        `dy must be f32 or f16 [B, ${tOut}, 2H, 2W, C] of ${frames} frames, with C padded to a multiple of 4, got ${dy}`,
      );
    const [b, , h, w, c] = dy.shape as [number, number, number, number, number];
    return { dx: { shape: [b, frames, h / 2, w / 2, c], dtype: dy.dtype } };
  },
  cost: ({ inputs: { dy }, outputs: { dx } }) => ({ flops: dy.size, bytes: dy.bytes + dx.bytes }),
  lower({ inputs: { dy }, attrs: { keepFirst }, outputs: { dx } }, { caps }) {
    const [batches, t, h, w, c] = dx.shape as [number, number, number, number, number];
    const tOut = dy.dim(1);
    const firstApart = keepFirst && tOut !== t && t % 2 === 1;
    const rowVectors = (w * c) / 4;
    /** First row of dy, of all, under a row of dx, of all: in the first frame that read it (0) or in the last one (1). */
    const rowOf = (row: number, which: 0 | 1) => {
      const [frame, within] = [Math.floor(row / h), Math.floor(row / h) % t];
      const first = tOut === t ? within : Math.max(0, 2 * within - +firstApart);
      const at = tOut === t || (firstApart && within === 0) ? first : first + which;
      return (Math.floor(frame / t) * tOut + at) * 2 * h + 2 * (row % h);
    };
    /** Vectors of dy that rows of dx read, of their first or last frames. */
    const read = (start: number, n: number, which: 0 | 1) => {
      const end = start + n - 1;
      // Of rows of several frames all that lies between them.
      const [from, to] =
        Math.floor(start / h) === Math.floor(end / h)
          ? [rowOf(start, which), rowOf(end, which)]
          : [rowOf(Math.floor(start / h) * h, which), rowOf(Math.floor(end / h) * h + h - 1, which)];
      return { first: from * 2 * rowVectors, count: (to + 2 - from) * 2 * rowVectors };
    };
    const parts = cut(
      batches * t * h,
      (start, n) =>
        windowFits(dx, start * rowVectors, n * rowVectors, caps) &&
        ([0, 1] as const).every((which) => windowFits(dy, read(start, n, which).first, read(start, n, which).count, caps)),
    );
    if (!parts)
      throw new CogwheelError(
        "nearest_upsample_gradient",
        `two rows of dy [${dy.shape.join(", ")}] must fit a binding of ${caps.maxBindingBytes} bytes; choose a narrower picture`,
      );
    return parts.map(({ start, count }) => {
      const [first, last] = ([0, 1] as const).map((which) => {
        const needed = read(start, count, which);
        return window(dy, needed.first, needed.count, caps);
      }) as [Window, Window];
      const to = window(dx, start * rowVectors, count * rowVectors, caps);
      return dispatch({
        kernel,
        types: { G: dy.dtype },
        consts: { DOUBLED_FRAMES: +(tOut !== t), FIRST_APART: +firstApart },
        params: {
          count: count * rowVectors,
          first: start * rowVectors,
          c4: c / 4,
          t,
          t_out: tOut,
          h,
          w,
          dy_base: wrap(first.base),
          last_base: wrap(last.base),
          dx_base: wrap(to.base),
        },
        bindings: { dy: first.view, last: last.view, dx: to.view },
        grid: foldGrid(Math.ceil((count * rowVectors) / kernel.overrides.WG), caps),
      });
    });
  },
};
