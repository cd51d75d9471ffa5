/** relative_bias: lengths within and past the largest distance. */
import { relativeBias as kernel } from "#kernels";
import { relativeBias, relativeBuckets } from "../../../ops/relative_bias.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

/** What only moves values moves them exactly; with f16 storage they are rounded once. */
const MOVES = { f32: 0, f16: 1e-3 };

export interface BiasSizes {
  readonly length: number;
  readonly heads: number;
  readonly buckets: number;
  readonly maxDistance: number;
}

/** The buckets themselves are held to transformers' in test/ops/relative_bias.test.ts. */
export function relativeBiasReference({ length, heads, buckets, maxDistance }: BiasSizes, { table }: Values): Float64Array {
  const bucket = relativeBuckets(length, buckets, maxDistance);
  return Float64Array.from(
    { length: heads * bucket.length },
    (_, i) => table![bucket[i % bucket.length]! * heads + Math.floor(i / bucket.length)]!,
  );
}

function one(size: Size, sizes: BiasSizes): OpCase {
  return {
    size,
    name: `${sizes.length} tokens, ${sizes.heads} heads, ${sizes.buckets} buckets`,
    half: ["table"],
    record: (draw) => ({ y: relativeBias(draw.weight("table", [sizes.buckets, sizes.heads]), sizes) }),
    reference: (values) => ({ y: relativeBiasReference(sizes, values) }),
  };
}

export const relativeBiasCases: OpCases = {
  op: "relative_bias",
  kernels: oneKernel(kernel),
  tolerance: MOVES,
  cases: [
    one("tiny", { length: 1, heads: 1, buckets: 8, maxDistance: 6 }),
    one("odd", { length: 11, heads: 3, buckets: 8, maxDistance: 6 }),
    one("odd", { length: 150, heads: 5, buckets: 32, maxDistance: 128 }),
    one("model", { length: 226, heads: 64, buckets: 32, maxDistance: 128 }),
  ],
};
