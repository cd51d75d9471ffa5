/** join_tokens: with and without positions, windows. */
import { joinTokens as kernel } from "#kernels";
import { joinTokens } from "../../../ops/join_tokens.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export interface JoinSizes {
  readonly batch: number;
  readonly text: number;
  readonly video: number;
  readonly d: number;
  readonly positions?: boolean;
}

export function joinTokensReference({ batch, text: t, video: v, d }: JoinSizes, { text, video, position }: Values): Float64Array {
  const out = new Float64Array(batch * (t + v) * d);
  for (let b = 0; b < batch; b++)
    for (let r = 0; r < t + v; r++)
      for (let c = 0; c < d; c++) {
        out[(b * (t + v) + r) * d + c] =
          (r < t ? text![(b * t + r) * d + c]! : video![(b * v + r - t) * d + c]!) + (position ? position[r * d + c]! : 0);
      }
  return out;
}

function one(size: Size, sizes: JoinSizes, limits?: OpCase["limits"]): OpCase {
  const { batch, text, video, d, positions = true } = sizes;
  return {
    size,
    name: `${batch} × (${text} + ${video}) × ${d}${positions ? ", with positions" : ""}${limits ? ", in windows" : ""}`,
    // Models join tokens in f32; windows of f16 rows would start where no binding may.
    ...(limits ? { limits, half: [] } : {}),
    record: (draw) => ({
      y: joinTokens(
        draw.input("text", [batch, text, d]),
        draw.input("video", [batch, video, d]),
        positions ? draw.input32("position", [text + video, d]) : undefined,
      ),
    }),
    reference: (values) => ({ y: joinTokensReference(sizes, values) }),
  };
}

export const joinTokensCases: OpCases = {
  op: "join_tokens",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-7, f16: 1e-3 },
  cases: [
    one("tiny", { batch: 1, text: 1, video: 1, d: 4 }),
    one("odd", { batch: 2, text: 5, video: 60, d: 36 }),
    one("odd", { batch: 3, text: 7, video: 19, d: 20, positions: false }),
    one("odd", { batch: 2, text: 5, video: 60, d: 64 }, { maxBindingBytes: 16384, maxGrid: 7 }),
    one("model", { batch: 2, text: 226, video: 30, d: 1920 }),
    one("model", { batch: 2, text: 226, video: 30, d: 3072, positions: false }),
  ],
};
