/** split_heads and merge_heads: heads of one vector and of several, a change of storage type on the way, windows of heads and of rows. */
import { heads as kernel } from "#kernels";
import { mergeHeads, splitHeads } from "../../../ops/heads.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

interface Sizes {
  m: number;
  heads: number;
  d: number;
}

/** By row to by head with `split`, else by head to by row. */
export function headsReference({ m, heads, d }: Sizes, split: boolean, { x }: Values): Float64Array {
  const out = new Float64Array(x!.length);
  for (let h = 0; h < heads; h++)
    for (let i = 0; i < m; i++)
      for (let c = 0; c < d; c++) {
        const [byHead, byRow] = [(h * m + i) * d + c, (i * heads + h) * d + c];
        if (split) out[byHead] = x![byRow]!;
        else out[byRow] = x![byHead]!;
      }
  return out;
}

function one(size: Size, sizes: Sizes, split: boolean, more: Partial<OpCase> = {}): OpCase {
  const { m, heads, d } = sizes;
  return {
    size,
    name:
      `${m} of ${heads} heads of ${d}, ${split ? "split" : "merged"}${more.half ? `, f16: ${more.half.join(", ")}` : ""}` +
      `${more.limits ? ", in windows" : ""}`,
    record: (draw) => ({
      y: split
        ? splitHeads(draw.input("x", [m, heads * d]), d, draw.type("y"))
        : mergeHeads(draw.input("x", [heads, m, d]), draw.type("y")),
    }),
    reference: (values) => ({ y: headsReference(sizes, split, values) }),
    ...more,
  };
}

export const headsCases: OpCases = {
  op: "heads",
  kernels: oneKernel(kernel),
  tolerance: { f32: 0, f16: 1e-3 },
  cases: [true, false].flatMap((split) => [
    one("tiny", { m: 1, heads: 1, d: 4 }, split),
    one("odd", { m: 67, heads: 3, d: 12 }, split),
    one("odd", { m: 33, heads: 5, d: 4 }, split, { half: ["x"] }),
    one("odd", { m: 33, heads: 5, d: 4 }, split, { half: ["y"] }),
    one("odd", { m: 130, heads: 6, d: 32 }, split, { limits: { maxBindingBytes: 34 * 1024, maxGrid: 7 } }),
    one("model", { m: 738, heads: 30, d: 64 }, split),
  ]),
};
