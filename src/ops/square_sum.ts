/** square_sum: partial sums of squares of one tensor after another, and counts of values that are not finite. Kernels: kernels/training/. */
import { squareSum as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, rowView, vectorWindows } from "../plan/dispatch.ts";

interface Inputs {
  x: Tensor;
  before: Tensor | undefined;
}

/** So many lanes keep a large GPU busy; what is left to add is 64 KB. */
const PARTIALS = 16384;

/**
 * x f32 [...] → [2, partials]: sums of squares, and counts of values that are NaN or infinite, which the sums
 * leave out. `before`: what another call gave, to which these are added. `gradientNorm` makes a norm of it.
 */
export function squareSum(x: Tensor, before?: Tensor, partials = PARTIALS): Tensor {
  return x.graph.record(squareSumOp, { x, before }, { partials: before ? before.dim(1) : partials }).y;
}

export const squareSumOp: Op<Inputs, { partials: number }, "y"> = {
  name: "square_sum",
  infer({ x, before }, { partials }) {
    if (x.dtype !== "f32") throw new CogwheelError("square_sum", `x must be f32, got ${x}; convert it`);
    if (before && (before.dtype !== "f32" || before.shape.length !== 2 || before.dim(0) !== 2))
      throw new CogwheelError("square_sum", `what came before must be f32 [2, partials], got ${before}; give what square_sum gave`);
    return { y: { shape: [2, partials], dtype: "f32" } };
  },
  mayTake: () => ({ y: "before" }),
  cost: ({ inputs: { x }, outputs: { y } }) => ({ flops: 2 * x.size, bytes: x.bytes + 2 * y.bytes }),
  lower({ inputs: { x, before }, attrs: { partials }, outputs: { y } }, { caps, inPlace }) {
    return vectorWindows(caps, x.size, [4]).map((rows, i) => {
      const start = i > 0 || inPlace ? 2 : before ? 1 : 0;
      // What no value is added to stays as it is where y holds it already.
      const lanes = start === 2 ? Math.min(partials, rows.count) : partials;
      return dispatch({
        kernel,
        params: { count: Math.min(4 * rows.count, x.size - 4 * rows.start), lanes, partials, first: rows.start % partials, start },
        bindings: { x: rowView(x, rows, 4), before: start === 1 ? before! : rowView(x, rows, 4), y },
        grid: [Math.ceil(lanes / 64), 1, 1],
      });
    });
  },
};
