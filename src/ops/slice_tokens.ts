/** slice_tokens: some tokens of each sample, such as the text or the video tokens of a joint sequence. Kernels: kernels/embed/. */
import { joinTokens as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, type DType, isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowWindows } from "../plan/dispatch.ts";

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
    // Whole tensors with row offsets where they fit a binding; windows of rows, which must then be aligned, where not.
    const fits = Math.max(x.bytes, y.bytes) <= caps.maxBindingBytes;
    const windows = fits
      ? [{ start: 0, count }]
      : rowWindows(
          caps,
          count,
          [x, y].map(({ dtype }) => d * bytesOf[dtype]),
        );
    return Array.from({ length: b }, (_, sample) => sample).flatMap((sample) =>
      windows.map((w) => {
        const [from, to] = [sample * s + first + w.start, sample * count + w.start];
        const part = (tensor: Tensor, row: number) =>
          fits ? tensor : { tensor, offset: row * d * bytesOf[tensor.dtype], bytes: w.count * d * bytesOf[tensor.dtype] };
        return dispatch({
          kernel,
          types: { X: x.dtype, Y: y.dtype },
          consts: { POSITION: 0 },
          params: { rows: w.count, d4: d / 4, from_row: fits ? from : 0, to_row: fits ? to : 0, position_row: 0 },
          bindings: { x: part(x, from), position: part(x, from), y: part(y, to) },
          grid: foldGrid(Math.ceil((w.count * d) / 256), caps),
        });
      }),
    );
  },
};
