/** gated_add_gradient: rows that come again, rows that no token names, one and several chunks, both storage types, windows. */
import { gateSums, sumParts } from "#kernels";
import { gatedAddGradient } from "../../../ops/gated_add_gradient.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";
import { runs } from "./gated_add.ts";

interface Sizes {
  n: number;
  table: number;
  rows: Uint32Array;
}

export function gatedAddGradientReference({ n, table, rows }: Sizes, { x, dy }: Values): Float64Array {
  const out = new Float64Array(table * n);
  for (const [i, v] of x!.entries()) out[rows[Math.floor(i / n)]! * n + (i % n)]! += v * dy![i]!;
  return out;
}

function one(size: Size, m: number, n: number, table: number, more: Partial<OpCase> & { given?: true } = {}): OpCase {
  const { given, ...rest } = more;
  const rows = runs(m, table);
  return {
    size,
    name:
      `${m}×${n} of ${table}${given ? ", rows an input" : ""}${rest.half ? `, f16: ${rest.half.join(", ")}` : ""}` +
      `${rest.limits ? ", in windows" : ""}`,
    record(draw) {
      const named = draw.rows("rows", rows, given ? "input" : "constant");
      return { table: gatedAddGradient(draw.input("x", [m, n]), draw.input("dy", [m, n]), named, [table, n]) };
    },
    reference: (values) => ({ table: gatedAddGradientReference({ n, table, rows }, values) }),
    ...rest,
  };
}

export const gatedAddGradientCases: OpCases = {
  op: "gated_add_gradient",
  kernels: [...oneKernel(gateSums), ...oneKernel(sumParts)],
  tolerance: { f32: 1e-6, f16: 1e-6 },
  cases: [
    one("tiny", 1, 4, 1),
    one("odd", 67, 12, 6),
    one("odd", 67, 12, 6, { given: true }),
    one("odd", 331, 260, 9),
    one("odd", 331, 20, 5, { half: ["x"] }),
    one("odd", 131, 20, 5, { half: ["dy"] }),
    one("odd", 331, 100, 12, { limits: { maxBindingBytes: 32768, maxGrid: 7 } }),
    one("model", 738, 1920, 6),
  ],
};
