/** transpose: sizes below, at and above a tile on either side, both storage types, a folded grid. */
import { transpose as kernel } from "#kernels";
import { transpose } from "../../../ops/transpose.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export function transposeReference(rows: number, { x }: Values): Float64Array {
  const columns = x!.length / rows;
  return Float64Array.from(x!, (_, i) => x![(i % rows) * columns + Math.floor(i / rows)]!);
}

function one(size: Size, rows: number, columns: number, limits?: OpCase["limits"]): OpCase {
  return {
    size,
    name: `[${rows}, ${columns}]${limits ? ", a folded grid" : ""}`,
    ...(limits ? { limits } : {}),
    record: (draw) => ({ y: transpose(draw.input("x", [rows, columns])) }),
    reference: (values) => ({ y: transposeReference(rows, values) }),
  };
}

export const transposeCases: OpCases = {
  op: "transpose",
  kernels: oneKernel(kernel),
  tolerance: { f32: 0, f16: 0 },
  cases: [
    one("tiny", 2, 4),
    one("odd", 1, 70),
    one("odd", 33, 64),
    one("odd", 66, 35),
    one("odd", 100, 132, { maxGrid: 5 }),
    one("model", 1920, 7680),
  ],
};
