/** sum_rows: numbers of rows around those that lanes share, rows that begin where no binding may. */
import { sumRows as kernel } from "#kernels";
import { sumRows } from "../../../ops/sum_rows.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export function sumRowsReference(columns: number, { x }: Values): Float64Array {
  const y = new Float64Array(columns);
  for (const [i, v] of x!.entries()) y[i % columns]! += v;
  return y;
}

function one(size: Size, rows: number, columns: number, limits?: OpCase["limits"]): OpCase {
  return {
    size,
    name: `${rows} × ${columns}${limits ? ", in windows" : ""}`,
    ...(limits ? { limits } : {}),
    record: (draw) => ({ y: sumRows(draw.input("x", [rows, columns])) }),
    reference: (values) => ({ y: sumRowsReference(columns, values) }),
  };
}

export const sumRowsCases: OpCases = {
  op: "sum_rows",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-3 },
  cases: [
    one("tiny", 1, 4),
    one("odd", 3, 260),
    one("odd", 17, 12),
    one("odd", 67, 36),
    one("odd", 1003, 68),
    one("odd", 3, 10012, { maxBindingBytes: 16384, maxGrid: 7 }),
    one("model", 2, 67 * 1920),
    one("model", 256, 2 * 1920),
  ],
};
