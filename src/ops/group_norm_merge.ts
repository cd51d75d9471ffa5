/** group_norm_merge: statistics of slices → mean and reciprocal deviation of every channel's group. Kernels: kernels/norm/. */
import { groupNormMerge as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch } from "../plan/dispatch.ts";
import { padTo } from "../graph/packing.ts";

interface MergeInputs {
  stats: Tensor;
}
interface MergeAttrs {
  /** Without padding. */
  channels: number;
  groups: number;
  eps: number;
}

/** stats [B, slices, 3, C padded] → [B, 2, C padded] f32: mean, 1/√(variance + eps). */
export function groupNormMerge(stats: Tensor, attrs: MergeAttrs): Tensor {
  return stats.graph.record(groupNormMergeOp, { stats }, attrs).norm;
}

export const groupNormMergeOp: Op<MergeInputs, MergeAttrs, "norm"> = {
  name: "group_norm_merge",
  infer({ stats }, { channels, groups }) {
    if (channels % groups)
      throw new CogwheelError("group_norm_merge", `channels must divide into groups, got ${channels} and ${groups}; check norm_num_groups`);
    if (stats.shape.length !== 4 || stats.dim(-1) !== padTo(channels, 4) || stats.dim(-2) !== 3 || stats.dtype !== "f32")
      throw new CogwheelError(
        "group_norm_merge",
        `statistics must be f32 [B, slices, 3, ${padTo(channels, 4)}] for ${channels} channels, got ${stats}; check the norm's weight`,
      );
    return { norm: { shape: [stats.dim(0), 2, stats.dim(-1)], dtype: "f32" } };
  },
  cost({ inputs: { stats }, outputs: { norm } }) {
    return { flops: 3 * stats.size, bytes: 2 * stats.bytes + norm.bytes };
  },
  lower({ inputs: { stats }, attrs: { channels, groups, eps }, outputs: { norm } }, { caps }) {
    return [
      dispatch({
        kernel,
        bindings: { stats, norm },
        params: { slices: stats.dim(1), channels, group: channels / groups, padded: stats.dim(-1), eps },
        // A CPU pays for every barrier, lane by lane.
        overrides: { WG: caps.kind === "software" ? 8 : 64 },
        grid: [groups, stats.dim(0), 1],
      }),
    ];
  },
};
