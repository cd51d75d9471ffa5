/** running_statistics: what a batch norm remembers of its batches, after one more. Kernels: kernels/norm/. */
import { runningStatistics as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import { padTo } from "../graph/packing.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch } from "../plan/dispatch.ts";

interface Inputs {
  stats: Tensor;
  mean: Tensor;
  variance: Tensor;
}

/**
 * stats [1, S, 3, C padded] of `groupNormStats` over all of a batch; mean and variance f32 [C] → the next ones:
 * old + momentum · (batch − old), and the old ones where the batch's are not finite.
 */
export function runningStatistics(stats: Tensor, mean: Tensor, variance: Tensor, momentum = 0.1): { mean: Tensor; variance: Tensor } {
  return stats.graph.record(runningStatisticsOp, { stats, mean, variance }, { momentum });
}

export const runningStatisticsOp: Op<Inputs, { momentum: number }, "mean" | "variance"> = {
  name: "running_statistics",
  infer({ stats, mean, variance }) {
    const c = mean.size;
    if (stats.shape.length !== 4 || stats.dim(0) !== 1 || stats.dim(2) !== 3 || stats.dim(3) !== padTo(c, 4) || variance.size !== c)
      throw new CogwheelError(
        "running_statistics",
        `statistics must be [1, slices, 3, ${padTo(c, 4)}] for ${c} channels, got ${stats}, ${mean} and ${variance}; ` +
          "give groupNormStats the whole batch as one entry",
      );
    return { mean: { shape: [c], dtype: "f32" }, variance: { shape: [c], dtype: "f32" } };
  },
  cost: ({ inputs: { stats } }) => ({ flops: 3 * stats.size, bytes: stats.bytes }),
  lower({ inputs: { stats, mean, variance }, attrs: { momentum }, outputs }) {
    return [
      dispatch({
        kernel,
        params: { slices: stats.dim(1), channels: mean.size, padded: stats.dim(3), momentum },
        bindings: { stats, mean, variance, next_mean: outputs.mean, next_variance: outputs.variance },
        grid: [Math.ceil(mean.size / kernel.overrides.WG), 1, 1],
      }),
    ];
  },
};
