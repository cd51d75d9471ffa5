/** pad_columns: columns that are no multiple of 4. */
import { padColumns as kernel } from "#kernels";
import { padColumns } from "../../../ops/pad_columns.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import { padChannels, type Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

/** Zeros after the last column, up to a multiple of 4. */
export function padColumnsReference(columns: number, { x }: Values): Float64Array {
  return padChannels(Float64Array.from(x!), columns);
}

function one(size: Size, rows: number, columns: number): OpCase {
  return {
    size,
    name: `${rows} × ${columns}`,
    record: (draw) => ({ y: padColumns(draw.input("x", [rows, columns])) }),
    reference: (values) => ({ y: padColumnsReference(columns, values) }),
  };
}

export const padColumnsCases: OpCases = {
  op: "pad_columns",
  kernels: oneKernel(kernel),
  tolerance: { f32: 0, f16: 0 },
  cases: [one("tiny", 1, 1), one("odd", 2, 3), one("odd", 67, 29), one("model", 226, 1917)],
};
