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

/** x [B, …, C] → [B, slices, 3, C] f32; C a multiple of 4, zeros where padded. */
export function groupNormStats(x: Tensor): Tensor {
  return x.graph.record(groupNormStatsOp, { x }, {}).stats;
}

/** How many positions a slice holds, the last perhaps fewer: enough slices to fill a GPU, few enough that merging them costs nothing. */
export const slicePositions = (positions: number): number => Math.max(128, Math.ceil(positions / 512 / 8) * 8);

export const groupNormStatsOp: Op<StatsInputs, object, "stats"> = {
  name: "group_norm_stats",
  infer({ x }) {
    if (!isFloat(x)) throw new CogwheelError("group_norm_stats", `x must be f32 or f16, got ${x}; convert it`);
    if (x.shape.length < 3 || x.dim(-1) % 4)
      throw new CogwheelError(
        "group_norm_stats",
        `x must be [B, …, C] with C padded to a multiple of 4, got [${x.shape.join(", ")}]; pad the channels`,
      );
    const positions = elements(x.shape.slice(1, -1));
    return { stats: { shape: [x.dim(0), Math.ceil(positions / slicePositions(positions)), 3, x.dim(-1)], dtype: "f32" } };
  },
  cost({ inputs: { x }, outputs: { stats } }) {
    return { flops: 5 * x.size, bytes: x.bytes + stats.bytes };
  },
  lower({ inputs: { x }, outputs: { stats } }, { caps }) {
    const positions = elements(x.shape.slice(1, -1));
    const c4 = x.dim(-1) / 4;
    const run = slicePositions(positions);
    const perBatch = stats.dim(1);
    /** Vectors of x in slices first … first + count − 1 of all. */
    const range = (first: number, count: number) => {
      const start = (slice: number) => (Math.floor(slice / perBatch) * positions + Math.min((slice % perBatch) * run, positions)) * c4;
      return { first: start(first), count: start(first + count) - start(first) };
    };
    const parts = cut(x.dim(0) * perBatch, (start, n) => windowFits(x, range(start, n).first, range(start, n).count, caps));
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
        params: { slices: count, first: start, per_batch: perBatch, positions, run, c4, x_base: wrap(read.base) },
        types: { X: x.dtype },
        grid: foldGrid(Math.ceil((count * c4) / kernel.overrides.WG), caps),
      });
    });
  },
};
