/** slice_tokens: some tokens of each sample, such as the text or the video tokens of a joint sequence. Kernels: kernels/embed/. */
import { joinTokens as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { type DType, isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { cut, window, windowFits, wrap } from "../plan/windows.ts";

interface Attrs {
  first: number;
  count: number;
  dtype: DType;
}

/** x [B, S, D] → [B, count, D] of the tokens from `first` on. D: a multiple of 4. `dtype`: default that of x. */
export function sliceTokens(x: Tensor, { first, count, dtype = x.dtype }: { first: number; count: number; dtype?: DType }): Tensor {
  return x.graph.record(sliceTokensOp, { x }, { first, count, dtype }).y;
}

export const sliceTokensOp: Op<{ x: Tensor }, Attrs, "y"> = {
  name: "slice_tokens",
  infer({ x }, { first, count, dtype }) {
    const [b, s, d] = x.shape as [number, number, number];
    if (x.shape.length !== 3 || d % 4 || !isFloat(x))
      throw new CogwheelError("slice_tokens", `x must be f32 or f16 [B, S, D] with D a multiple of 4, got ${x}; reshape it`);
    if (!Number.isInteger(first) || !Number.isInteger(count) || first < 0 || count < 1 || first + count > s)
      throw new CogwheelError("slice_tokens", `the tokens must lie within the ${s} of ${x}, got ${count} from ${first} on; correct them`);
    return { y: { shape: [b, count, d], dtype } };
  },
  cost: ({ outputs: { y } }) => ({ flops: 0, bytes: 2 * y.bytes }),
  lower({ inputs: { x }, attrs: { first, count }, outputs: { y } }, { caps }) {
    const [b, s, d] = x.shape as [number, number, number];
    const vectors = (count * d) / 4;
    return Array.from({ length: b }, (_, sample) => [((sample * s + first) * d) / 4, sample * vectors] as const).flatMap(([from, to]) =>
      cut(vectors, (start, n) => windowFits(x, from + start, n, caps) && windowFits(y, to + start, n, caps))!.map((part) => {
        const read = window(x, from + part.start, part.count, caps);
        const written = window(y, to + part.start, part.count, caps);
        return dispatch({
          kernel,
          types: { X: x.dtype, Y: y.dtype },
          consts: { POSITION: 0 },
          // Rows of one vector each: a window may begin within a token.
          params: {
            rows: part.count,
            d4: 1,
            from_row: wrap(read.base + from + part.start),
            to_row: wrap(written.base + to + part.start),
            position_row: 0,
          },
          bindings: { x: read.view, position: read.view, y: written.view },
          grid: foldGrid(Math.ceil(part.count / 64), caps),
        });
      }),
    );
  },
};
