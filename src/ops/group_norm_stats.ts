/** group_norm_stats: count, mean and sum of squared deviations of every channel, slice by slice. Kernels: kernels/norm/. */
import { groupNormStats as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { elements, isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { cut, window, windowFits, wrap } from "../plan/windows.ts";

interface StatsInputs {
  x: Tensor;
}

/**
 * x [B, T, H, W, C] or [B, P, C] → [B, slices, 3, C] f32; C a multiple of 4, zeros where padded. A slice never holds positions of two
 * frames, and where it begins in its frame depends on nothing else, so whoever holds a frame makes the same statistics of it.
 */
export function groupNormStats(x: Tensor): Tensor {
  return x.graph.record(groupNormStatsOp, { x }, {}).stats;
}

/**
 * How many positions of a frame a slice holds, the last perhaps fewer: enough slices to fill a GPU, few enough that merging them costs
 * nothing.
 */
export const slicePositions = (plane: number): number => Math.max(128, Math.ceil(plane / 256 / 8) * 8);

/** Frames of a batch entry, and positions of one. */
const framesOf = (x: Tensor): { frames: number; plane: number } => ({
  frames: x.shape.length === 5 ? x.dim(1) : 1,
  plane: elements(x.shape.slice(x.shape.length === 5 ? 2 : 1, -1)),
});

export const groupNormStatsOp: Op<StatsInputs, object, "stats"> = {
  name: "group_norm_stats",
  infer({ x }) {
    if (!isFloat(x)) throw new CogwheelError("group_norm_stats", `x must be f32 or f16, got ${x}; convert it`);
    if (x.shape.length < 3 || x.dim(-1) % 4)
      throw new CogwheelError(
        "group_norm_stats",
        `x must be [B, …, C] with C padded to a multiple of 4, got [${x.shape.join(", ")}]; pad the channels`,
      );
    const { frames, plane } = framesOf(x);
    return { stats: { shape: [x.dim(0), frames * Math.ceil(plane / slicePositions(plane)), 3, x.dim(-1)], dtype: "f32" } };
  },
  cost({ inputs: { x }, outputs: { stats } }) {
    return { flops: 5 * x.size, bytes: x.bytes + stats.bytes };
  },
  lower({ inputs: { x }, outputs: { stats } }, { caps }) {
    const { frames, plane } = framesOf(x);
    const c4 = x.dim(-1) / 4;
    const run = slicePositions(plane);
    const perFrame = stats.dim(1) / frames;
    /** Vectors of x in slices first … first + count − 1 of all. */
    const range = (first: number, count: number) => {
      const start = (slice: number) => (Math.floor(slice / perFrame) * plane + (slice % perFrame) * run) * c4;
      return { first: start(first), count: start(first + count) - start(first) };
    };
    const parts = cut(x.dim(0) * stats.dim(1), (start, n) => windowFits(x, range(start, n).first, range(start, n).count, caps));
    if (!parts)
      throw new CogwheelError(
        "group_norm_stats",
        `${run} positions of x [${x.shape.join(", ")}] must fit a binding of ${caps.maxBindingBytes} bytes; choose a smaller size`,
      );
    return parts.map(({ start, count }) => {
      const place = range(start, count);
      const read = window(x, place.first, place.count, caps);
      return dispatch({
        kernel,
        bindings: { x: read.view, stats },
        params: { slices: count, first: start, per_frame: perFrame, plane, run, c4, x_base: wrap(read.base) },
        types: { X: x.dtype },
        grid: foldGrid(Math.ceil((count * c4) / kernel.overrides.WG), caps),
      });
    });
  },
};
