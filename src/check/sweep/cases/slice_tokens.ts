/** slice_tokens: tokens at the beginning, in the middle and at the end, types that change, windows. */
import { joinTokens as kernel } from "#kernels";
import { sliceTokens } from "../../../ops/slice_tokens.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export interface SliceSizes {
  readonly batch: number;
  readonly tokens: number;
  readonly d: number;
  readonly first: number;
  readonly count: number;
}

export function sliceTokensReference({ batch, tokens, d, first, count }: SliceSizes, { x }: Values): Float64Array {
  return Float64Array.from(
    Array.from({ length: batch }, (_, b) => [...x!.subarray((b * tokens + first) * d, (b * tokens + first + count) * d)]).flat(),
  );
}

function one(size: Size, sizes: SliceSizes, half = "xy", limits?: OpCase["limits"]): OpCase {
  const { batch, tokens, d, first, count } = sizes;
  return {
    size,
    name: `${count} of ${batch} × ${tokens} × ${d} from ${first} on${limits ? ", in windows" : ""} (${half})`,
    half: [...half],
    ...(limits ? { limits } : {}),
    record: (draw) => ({ y: sliceTokens(draw.input("x", [batch, tokens, d]), { first, count, dtype: draw.type("y") }) }),
    reference: (values) => ({ y: sliceTokensReference(sizes, values) }),
  };
}

export const sliceTokensCases: OpCases = {
  op: "slice_tokens",
  kernels: oneKernel(kernel),
  tolerance: { f32: 0, f16: 1e-3 },
  cases: [
    one("tiny", { batch: 1, tokens: 1, d: 4, first: 0, count: 1 }),
    one("odd", { batch: 3, tokens: 26, d: 20, first: 0, count: 7 }),
    one("odd", { batch: 3, tokens: 26, d: 20, first: 7, count: 19 }, "y"),
    one("odd", { batch: 2, tokens: 65, d: 36, first: 5, count: 9 }, "x"),
    ...["", "xy"].map((half) =>
      one("odd", { batch: 2, tokens: 65, d: 64, first: 5, count: 60 }, half, { maxBindingBytes: 16384, maxGrid: 7 }),
    ),
    one("odd", { batch: 2, tokens: 7, d: 100, first: 3, count: 4 }, "xy", { maxBindingBytes: 512 }),
    one("model", { batch: 2, tokens: 256, d: 1920, first: 0, count: 226 }),
    one("model", { batch: 2, tokens: 256, d: 3072, first: 226, count: 30 }),
  ],
};
