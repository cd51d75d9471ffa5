/** gather_rows: a permutation, rows that are not named, rows that none is named for, windows of either side, a list given as an input. */
import { embedding as kernel } from "#kernels";
import { gatherRows, NO_ROW } from "../../../ops/gather_rows.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

/** What only moves values moves them exactly. */
const MOVES = { f32: 0, f16: 0 };

export interface GatherSizes {
  readonly rows: number;
  readonly c: number;
  /** Rows of the result; of every five one is none. */
  readonly count: number;
}

/** Rows of the result that x has, in an order that jumps, and zeros between them. */
export function someRows({ rows, count }: GatherSizes): { index: Uint32Array; inverse: Uint32Array } {
  const index = new Uint32Array(count).fill(NO_ROW);
  const inverse = new Uint32Array(rows).fill(NO_ROW);
  let next = 0;
  for (let m = 0; m < count && next < rows; m++) {
    if (m % 5 === 3) continue;
    // 7919 is prime: every row is named once.
    const row = rows % 7919 === 0 ? next : (next * 7919) % rows;
    index[m] = row;
    inverse[row] = m;
    next++;
  }
  return { index, inverse };
}

export function gatherRowsReference(sizes: GatherSizes, { x }: Values): Float64Array {
  const { index } = someRows(sizes);
  const out = new Float64Array(sizes.count * sizes.c);
  index.forEach((row, m) => {
    if (row !== NO_ROW) out.set(x!.subarray(row * sizes.c, (row + 1) * sizes.c), m * sizes.c);
  });
  return out;
}

interface Given {
  role?: "constant" | "input";
  limits?: OpCase["limits"];
}

function one(size: Size, sizes: GatherSizes, { role = "constant", limits }: Given = {}): OpCase {
  return {
    size,
    name: `${sizes.count} of ${sizes.rows} × ${sizes.c}${role === "input" ? ", lists as inputs" : ""}${limits ? ", in windows" : ""}`,
    half: ["x"],
    ...(limits ? { limits } : {}),
    record(draw) {
      const { index, inverse } = someRows(sizes);
      return {
        y: gatherRows(draw.input("x", [sizes.rows, sizes.c]), draw.rows("index", index, role), draw.rows("inverse", inverse, role)),
      };
    },
    reference: (values) => ({ y: gatherRowsReference(sizes, values) }),
  };
}

export const gatherRowsCases: OpCases = {
  op: "gather_rows",
  kernels: oneKernel(kernel),
  tolerance: MOVES,
  cases: [
    one("tiny", { rows: 1, c: 4, count: 1 }),
    one("odd", { rows: 45, c: 20, count: 29 }),
    one("odd", { rows: 29, c: 12, count: 45 }, { role: "input" }),
    one("odd", { rows: 300, c: 64, count: 333 }, { limits: { maxBindingBytes: 16384, maxGrid: 9 } }),
    one("model", { rows: 738, c: 1920, count: 738 }),
  ],
};
