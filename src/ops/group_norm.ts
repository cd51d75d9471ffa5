/**
 * GroupNorm over a video [B, T, H, W, C]: statistics of slices → merge → apply, three nodes, so that tiles, streams and
 * processes can each bring their statistics and share one norm.
 */
import type { DType } from "../graph/dtype.ts";
import type { Tensor } from "../graph/tensor.ts";
import { groupNormApply, type SpatialNorm } from "./group_norm_apply.ts";
import { groupNormMerge } from "./group_norm_merge.ts";
import { groupNormStats } from "./group_norm_stats.ts";

export interface GroupNormOptions {
  groups: number;
  eps: number;
  activation?: "silu";
  /** Scales and shifts the result by position. */
  spatial?: SpatialNorm;
  /** Storage type of the result. Default f32. */
  dtype?: DType;
}

/** x [B, T, H, W, C padded], weight and bias [C] → the same shape, normalised over T, H, W and the channels of a group. */
export function groupNorm(x: Tensor, weight: Tensor, bias: Tensor, { groups, eps, ...apply }: GroupNormOptions): Tensor {
  return groupNormApply(x, groupNormMerge(groupNormStats(x), { channels: weight.size, groups, eps }), weight, bias, apply);
}
