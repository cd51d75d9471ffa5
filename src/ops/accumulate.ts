/** accumulate: gradients of one micro-step after another, added up. Kernels: kernels/training/. */
import { accumulate as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, vectorWindows } from "../plan/dispatch.ts";

interface Inputs {
  sum: Tensor;
  x: Tensor;
  begun: Tensor;
}

/**
 * sum + x where `begun` [4] is 1 in its first place, x where it is 0: then `sum` is not read.
 * @param sum f32 @param x of its shape, f32 or f16
 */
export function accumulate(sum: Tensor, x: Tensor, begun: Tensor): Tensor {
  return sum.graph.record(accumulateOp, { sum, x, begun }, {}).y;
}

export const accumulateOp: Op<Inputs, object, "y"> = {
  name: "accumulate",
  infer({ sum, x, begun }) {
    if (sum.dtype !== "f32" || !isFloat(x) || sum.shape.join() !== x.shape.join())
      throw new CogwheelError("accumulate", `the sum must be f32 of the shape of x, got ${sum} and ${x}; reshape one`);
    if (begun.dtype !== "f32" || begun.size !== 4)
      throw new CogwheelError("accumulate", `what says whether something was added must be f32 [4], got ${begun}; make it of that size`);
    return { y: { shape: sum.shape, dtype: "f32" } };
  },
  mayTake: () => ({ y: "sum" }),
  cost: ({ inputs: { x }, outputs: { y } }) => ({ flops: y.size, bytes: x.bytes + 2 * y.bytes }),
  lower({ inputs: { sum, x, begun }, outputs: { y } }, { caps, inPlace }) {
    return vectorWindows(caps, y.size, [4, bytesOf[x.dtype]]).map((rows) =>
      dispatch({
        kernel,
        types: { X: x.dtype },
        consts: { IN_PLACE: +inPlace },
        params: { count4: rows.count },
        bindings: { sum: rowView(inPlace ? x : sum, rows, 4), x: rowView(x, rows, 4), begun, y: rowView(y, rows, 4) },
        grid: foldGrid(Math.ceil(rows.count / 64), caps),
      }),
    );
  },
};
