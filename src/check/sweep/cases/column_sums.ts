/** column_sums: one and several chunks of rows, columns that only pad, both storage types, windows. */
import { columnSums as kernel, sumParts } from "#kernels";
import { columnSums } from "../../../ops/column_sums.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export function columnSumsReference({ n, columns }: { n: number; columns: number }, { x }: Values): Float64Array {
  const out = new Float64Array(columns);
  x!.forEach((v, i) => {
    if (i % n < columns) out[i % n]! += v;
  });
  return out;
}

function one(size: Size, m: number, n: number, columns = n, more: Partial<OpCase> = {}): OpCase {
  return {
    size,
    name: `${m}×${n}${columns < n ? `, ${columns} of them` : ""}${more.limits ? ", in windows" : ""}`,
    record: (draw) => ({ y: columnSums(draw.input("x", [m, n]), columns) }),
    reference: (values) => ({ y: columnSumsReference({ n, columns }, values) }),
    ...more,
  };
}

export const columnSumsCases: OpCases = {
  op: "column_sums",
  kernels: [...oneKernel(kernel), ...oneKernel(sumParts)],
  // Sums of hundreds of terms of both signs, in f32.
  tolerance: { f32: 2e-6, f16: 2e-6 },
  cases: [
    one("tiny", 1, 4),
    one("odd", 67, 12, 11),
    one("odd", 5, 260),
    one("odd", 331, 20),
    one("odd", 1000, 100, 97, { limits: { maxBindingBytes: 32768, maxGrid: 7 } }),
    one("model", 738, 7680),
  ],
};
