/** combine: a sum of two tensors, each times a number. Kernels: kernels/elementwise/. */
import { combine as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, vectorWindows } from "../plan/dispatch.ts";

interface Inputs {
  a: Tensor;
  b: Tensor;
}
interface Attrs {
  alpha: number;
  beta: number;
}

/** a and b f32 of one shape → alpha · a + beta · b. */
export function combine(a: Tensor, b: Tensor, { alpha, beta }: Attrs): Tensor {
  return a.graph.record(combineOp, { a, b }, { alpha, beta }).y;
}

export const combineOp: Op<Inputs, Attrs, "y"> = {
  name: "combine",
  infer({ a, b }) {
    if (a.dtype !== "f32" || b.dtype !== "f32" || a.shape.join() !== b.shape.join())
      throw new CogwheelError("combine", `a and b must be f32 of one shape, got ${a} and ${b}; reshape one`);
    return { y: { shape: a.shape, dtype: "f32" } };
  },
  mayTake: () => ({ y: "a" }),
  cost: ({ outputs: { y } }) => ({ flops: 3 * y.size, bytes: 3 * y.bytes }),
  lower({ inputs: { a, b }, attrs, outputs: { y } }, { caps, inPlace }) {
    return vectorWindows(caps, y.size, [4]).map((rows) =>
      dispatch({
        kernel,
        consts: { IN_PLACE: +inPlace },
        params: { count4: rows.count, ...attrs },
        bindings: { a: rowView(inPlace ? b : a, rows, 4), b: rowView(b, rows, 4), y: rowView(y, rows, 4) },
        grid: foldGrid(Math.ceil(rows.count / 64), caps),
      }),
    );
  },
};
