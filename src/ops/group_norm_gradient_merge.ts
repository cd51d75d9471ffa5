/**
 * group_norm_gradient_merge: sums of slices (group_norm_gradient_sums) → what a norm's gradient reads of its groups, and the gradients of
 * its weight and bias. Kernels: kernels/norm/.
 */
import { groupNormGradientMerge as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { padTo } from "../graph/packing.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch } from "../plan/dispatch.ts";
import { sumGroups } from "./reduce/groups.ts";

interface Inputs {
  sums: Tensor;
  norm: Tensor;
  weight: Tensor;
}
interface Attrs {
  groups: number;
}

/**
 * sums [B, slices, 3, C padded], norm [B, 2, C padded] of groupNormMerge and weight [C] → `norm` [B, 4, C padded]: mean, rstd, and the
 * means of dn · weight and of dn · weight · x̂ over a channel's group; `dweight`, `dbias` [C] f32. Slices are added in an order that only
 * their number decides.
 */
export function groupNormGradientMerge(inputs: Inputs, attrs: Attrs): { norm: Tensor; dweight: Tensor; dbias: Tensor } {
  return inputs.sums.graph.record(groupNormGradientMergeOp, inputs, attrs);
}

export const groupNormGradientMergeOp: Op<Inputs, Attrs, "norm" | "dweight" | "dbias"> = {
  name: "group_norm_gradient_merge",
  infer({ sums, norm, weight }, { groups }) {
    const padded = padTo(weight.size, 4);
    if (
      sums.shape.length !== 4 ||
      sums.dim(2) !== 3 ||
      sums.dim(3) !== padded ||
      norm.shape.join() !== [sums.dim(0), 2, padded].join() ||
      weight.size % groups
    )
      throw new CogwheelError(
        "group_norm_gradient_merge",
        `sums must be [B, slices, 3, ${padded}], norm [B, 2, ${padded}] and ${weight.size} channels divide into groups, ` +
          `got ${sums}, ${norm} and ${groups}; pass those of the norm`,
      );
    const own = { shape: weight.shape, dtype: "f32" } as const;
    return { norm: { shape: [sums.dim(0), 4, padded], dtype: "f32" }, dweight: own, dbias: own };
  },
  cost: ({ inputs: { sums } }) => ({ flops: sums.size, bytes: sums.bytes }),
  lower({ inputs: { sums, norm, weight }, attrs: { groups }, outputs }, target) {
    const [batches, slices, , padded] = sums.shape as [number, number, number, number];
    const totals = target.scratch([batches, 3 * padded], "f32");
    const first = Uint32Array.from({ length: batches + 1 }, (_, b) => b * slices);
    return [
      sumGroups(sums, first, totals, target),
      dispatch({
        kernel,
        params: { batches, channels: weight.size, group: weight.size / groups, padded },
        bindings: { totals, norm, weight, merged: outputs.norm, dweight: outputs.dweight, dbias: outputs.dbias },
        grid: [Math.ceil(padded / kernel.overrides.WG), 1, 1],
      }),
    ];
  },
};
