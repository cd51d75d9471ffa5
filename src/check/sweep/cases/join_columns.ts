/** join_columns: widths that are no multiple of 4, both storage types of each, windows. */
import { joinColumns as kernel } from "#kernels";
import { joinColumns } from "../../../ops/join_columns.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export function joinColumnsReference(rows: number, first: number, second: number, { a, b }: Values): Float64Array {
  const out = new Float64Array(rows * (first + second));
  for (let r = 0; r < rows; r++) {
    out.set(a!.subarray(r * first, (r + 1) * first), r * (first + second));
    out.set(b!.subarray(r * second, (r + 1) * second), r * (first + second) + first);
  }
  return out;
}

function one(size: Size, [rows, first, second]: readonly [number, number, number], more: Partial<OpCase> = {}): OpCase {
  const half = more.half ? `, f16: ${more.half.join(", ")}` : "";
  return {
    size,
    name: `[${rows}, ${first}] and [${rows}, ${second}]${more.limits ? ", in windows" : ""}${half}`,
    record: (draw) => ({ y: joinColumns(draw.input("a", [rows, first]), draw.input("b", [rows, second]), draw.type("y")) }),
    reference: (values) => ({ y: joinColumnsReference(rows, first, second, values) }),
    ...more,
  };
}

export const joinColumnsCases: OpCases = {
  op: "join_columns",
  kernels: oneKernel(kernel),
  tolerance: { f32: 0, f16: 1e-3 },
  cases: [
    one("tiny", [1, 1, 1]),
    one("odd", [67, 12, 5]),
    one("odd", [67, 3, 8], { half: ["b"] }),
    one("odd", [200, 64, 64], { limits: { maxBindingBytes: 16384, maxGrid: 12 } }),
    one("model", [1350, 64, 64]),
  ],
};
