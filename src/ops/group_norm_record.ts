/** group_norm_record: statistics of slices → one record of all of them, to be merged with those of other frames. Kernels: kernels/norm/. */
import { groupNormRecord as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch } from "../plan/dispatch.ts";

/**
 * stats [B, slices, 3, C] of groupNormStats → [B, 1, 3, C] f32: count, mean and sum of squared deviations of every channel. What a worker
 * tells others of its frames in place of the frames.
 */
export function groupNormRecord(stats: Tensor): Tensor {
  return stats.graph.record(groupNormRecordOp, { stats }, {}).record;
}

export const groupNormRecordOp: Op<{ stats: Tensor }, object, "record"> = {
  name: "group_norm_record",
  infer({ stats }) {
    if (stats.shape.length !== 4 || stats.dim(-2) !== 3 || stats.dim(-1) % 4 || stats.dtype !== "f32")
      throw new CogwheelError(
        "group_norm_record",
        `statistics must be f32 [B, slices, 3, C] with C padded to a multiple of 4, got ${stats}; make them with groupNormStats`,
      );
    return { record: { shape: [stats.dim(0), 1, 3, stats.dim(-1)], dtype: "f32" } };
  },
  cost({ inputs: { stats }, outputs: { record } }) {
    return { flops: 3 * stats.size, bytes: 2 * stats.bytes + record.bytes };
  },
  lower({ inputs: { stats }, outputs: { record } }, { caps }) {
    return [
      dispatch({
        kernel,
        bindings: { stats, record },
        params: { slices: stats.dim(1), c4: stats.dim(-1) / 4 },
        // A CPU pays for every barrier, lane by lane.
        overrides: { WG: caps.kind === "software" ? 8 : 64 },
        grid: [stats.dim(-1) / 4, stats.dim(0), 1],
      }),
    ];
  },
};
