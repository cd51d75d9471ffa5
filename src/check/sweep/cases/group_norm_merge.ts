/** group_norm_merge: slices of every size, groups of one channel to all. */
import { groupNormMerge as kernel } from "#kernels";
import { padTo } from "../../../graph/packing.ts";
import { groupNormMerge } from "../../../ops/group_norm_merge.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import { drawn, type Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export interface GroupNormMergeSizes {
  readonly batch: number;
  readonly slices: number;
  readonly channels: number;
  readonly groups: number;
}

const EPS = 1e-6;

/** The mean of all slices by their counts; the deviations in the slices and those of their means from it. Padded channels are zeros. */
export function groupNormMergeReference({ batch, slices, channels, groups }: GroupNormMergeSizes, { stats }: Values): Float64Array {
  const [padded, width] = [padTo(channels, 4), channels / groups];
  const norm = new Float64Array(batch * 2 * padded);
  for (let b = 0; b < batch; b++)
    for (let c = 0; c < channels; c++) {
      const first = Math.floor(c / width) * width;
      const entries = Array.from({ length: slices * width }, (_, i) => {
        const at = (b * slices + Math.floor(i / width)) * 3 * padded + first + (i % width);
        return { count: stats![at]!, mean: stats![at + padded]!, squares: stats![at + 2 * padded]! };
      });
      const count = entries.reduce((sum, e) => sum + e.count, 0);
      const mean = entries.reduce((sum, e) => sum + (e.count * e.mean) / count, 0);
      const squares = entries.reduce((sum, e) => sum + e.squares + e.count * (e.mean - mean) ** 2, 0);
      norm[2 * b * padded + c] = mean;
      norm[(2 * b + 1) * padded + c] = 1 / Math.sqrt(squares / count + EPS);
    }
  return norm;
}

/** Counts of 1 to 128, means around 7, and deviations that none of the counts makes negative. */
function statistics({ batch, slices, channels }: GroupNormMergeSizes): Float32Array {
  const padded = padTo(channels, 4);
  return drawn(batch * slices * 3 * padded, 1).map((v, i) => {
    const [row, slice] = [Math.floor(i / padded) % 3, Math.floor(i / padded / 3)];
    return row === 0 ? 1 + ((slice * 37) % 128) : row === 1 ? 7 + v : 64 * Math.abs(v);
  });
}

function one(size: Size, sizes: GroupNormMergeSizes): OpCase {
  const { batch, slices, channels, groups } = sizes;
  return {
    size,
    name: `${batch} × ${slices} slices of ${channels} channels in ${groups} groups`,
    half: [],
    record: (draw) => ({
      norm: groupNormMerge(draw.input32("stats", [batch, slices, 3, padTo(channels, 4)], { data: statistics(sizes) }), {
        channels,
        groups,
        eps: EPS,
      }),
    }),
    reference: (values) => ({ norm: groupNormMergeReference(sizes, values) }),
  };
}

export const groupNormMergeCases: OpCases = {
  op: "group_norm_merge",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-6 },
  cases: [
    one("tiny", { batch: 1, slices: 1, channels: 1, groups: 1 }),
    one("odd", { batch: 2, slices: 5, channels: 6, groups: 2 }),
    one("odd", { batch: 1, slices: 67, channels: 10, groups: 10 }),
    one("odd", { batch: 3, slices: 19, channels: 20, groups: 1 }),
    one("model", { batch: 1, slices: 512, channels: 512, groups: 32 }),
  ],
};
