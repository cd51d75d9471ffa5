/** group_norm_record: one slice to many more than lanes, counts that differ. */
import { groupNormRecord as kernel } from "#kernels";
import { groupNormRecord } from "../../../ops/group_norm_record.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import { drawn, type Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export interface RecordSizes {
  readonly batch: number;
  readonly slices: number;
  readonly channels: number;
}

/** The mean of all slices by their counts; the deviations in the slices and those of their means from it. */
export function groupNormRecordReference({ batch, slices, channels }: RecordSizes, { stats }: Values): Float64Array {
  const out = new Float64Array(batch * 3 * channels);
  for (let b = 0; b < batch; b++)
    for (let c = 0; c < channels; c++) {
      const entries = Array.from({ length: slices }, (_, s) => {
        const at = (b * slices + s) * 3 * channels + c;
        return { count: stats![at]!, mean: stats![at + channels]!, squares: stats![at + 2 * channels]! };
      });
      const count = entries.reduce((sum, e) => sum + e.count, 0);
      const mean = entries.reduce((sum, e) => sum + (e.count * e.mean) / count, 0);
      const at = b * 3 * channels + c;
      out[at] = count;
      out[at + channels] = mean;
      out[at + 2 * channels] = entries.reduce((sum, e) => sum + e.squares + e.count * (e.mean - mean) ** 2, 0);
    }
  return out;
}

/** Counts of 1 to 128, means around 7, and deviations that none of the counts makes negative. */
function statistics({ batch, slices, channels }: RecordSizes): Float32Array {
  return drawn(batch * slices * 3 * channels, 1).map((v, i) => {
    const [row, slice] = [Math.floor(i / channels) % 3, Math.floor(i / channels / 3)];
    return row === 0 ? 1 + ((slice * 37) % 128) : row === 1 ? 7 + v : 64 * Math.abs(v);
  });
}

function one(size: Size, sizes: RecordSizes): OpCase {
  const { batch, slices, channels } = sizes;
  return {
    size,
    name: `${batch} × ${slices} slices of ${channels} channels`,
    half: [],
    record: (draw) => ({ record: groupNormRecord(draw.input32("stats", [batch, slices, 3, channels], { data: statistics(sizes) })) }),
    reference: (values) => ({ record: groupNormRecordReference(sizes, values) }),
  };
}

export const groupNormRecordCases: OpCases = {
  op: "group_norm_record",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-6 },
  cases: [
    one("tiny", { batch: 1, slices: 1, channels: 4 }),
    one("odd", { batch: 2, slices: 5, channels: 8 }),
    one("odd", { batch: 1, slices: 67, channels: 12 }),
    one("odd", { batch: 3, slices: 129, channels: 20 }),
    one("model", { batch: 1, slices: 512, channels: 512 }),
  ],
};
