/** group_norm_gradient_merge: slices of every number, groups of one channel to all, padded channels. */
import { groupNormGradientMerge as kernel, sumGroups } from "#kernels";
import { padTo } from "../../../graph/packing.ts";
import { groupNormGradientMerge } from "../../../ops/group_norm_gradient_merge.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import { drawn, type Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";
import type { GroupNormMergeSizes } from "./group_norm_merge.ts";

export function groupNormGradientMergeReference(
  { batch, slices, channels, groups }: GroupNormMergeSizes,
  { sums, norm, weight }: Values,
): Record<string, Float64Array> {
  const [padded, width] = [padTo(channels, 4), channels / groups];
  const merged = new Float64Array(batch * 4 * padded);
  const [dweight, dbias] = [new Float64Array(channels), new Float64Array(channels)];
  for (let b = 0; b < batch; b++) {
    const total = (row: number, c: number): number =>
      Array.from({ length: slices }, (_, s) => sums![((b * slices + s) * 3 + row) * padded + c]!).reduce((sum, v) => sum + v, 0);
    for (let c = 0; c < channels; c++) {
      const of = Array.from({ length: width }, (_, i) => Math.floor(c / width) * width + i);
      const count = of.reduce((sum, i) => sum + total(0, i), 0);
      for (const row of [1, 2])
        merged[(4 * b + 1 + row) * padded + c] = of.reduce((sum, i) => sum + weight![i]! * total(row, i), 0) / count;
      dbias[c]! += total(1, c);
      dweight[c]! += total(2, c);
    }
    merged.set(norm!.subarray(2 * b * padded, (2 * b + 2) * padded), 4 * b * padded);
  }
  return { norm: merged, dweight, dbias };
}

function one(size: Size, sizes: GroupNormMergeSizes): OpCase {
  const { batch, slices, channels, groups } = sizes;
  const padded = padTo(channels, 4);
  const data = drawn(batch * slices * 3 * padded, 3).map((v, i) =>
    Math.floor(i / padded) % 3 === 0 ? 1 + ((Math.floor(i / padded / 3) * 37) % 128) : v,
  );
  return {
    size,
    name: `${batch} × ${slices} slices of ${channels} channels in ${groups} groups`,
    half: [],
    record: (draw) => ({
      ...groupNormGradientMerge(
        {
          sums: draw.input32("sums", [batch, slices, 3, padded], { data }),
          norm: draw.input32("norm", [batch, 2, padded]),
          weight: draw.vector("weight", [channels]),
        },
        { groups },
      ),
    }),
    reference: (values) => groupNormGradientMergeReference(sizes, values),
  };
}

export const groupNormGradientMergeCases: OpCases = {
  op: "group_norm_gradient_merge",
  kernels: [...oneKernel(kernel), ...oneKernel(sumGroups)],
  tolerance: { f32: 2e-6, f16: 2e-6 },
  cases: [
    one("tiny", { batch: 1, slices: 1, channels: 1, groups: 1 }),
    one("odd", { batch: 2, slices: 5, channels: 6, groups: 2 }),
    one("odd", { batch: 1, slices: 67, channels: 10, groups: 10 }),
    one("odd", { batch: 3, slices: 19, channels: 20, groups: 1 }),
    one("model", { batch: 1, slices: 512, channels: 512, groups: 32 }),
  ],
};
