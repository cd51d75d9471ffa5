/** add_scaled: a tensor plus another times a number that the device has computed. Kernels: kernels/elementwise/. */
import { addScaled as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, type DType, isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";

interface Inputs {
  a: Tensor;
  b: Tensor;
  factor: Tensor;
}

/** a and b of one shape, f32 or f16 each, with a multiple of 4 values; factor f32 [4] → a + factor[0] · b. `dtype`: default that of a. */
export function addScaled(a: Tensor, b: Tensor, factor: Tensor, dtype: DType = a.dtype): Tensor {
  return a.graph.record(addScaledOp, { a, b, factor }, { dtype }).y;
}

export const addScaledOp: Op<Inputs, { dtype: DType }, "y"> = {
  name: "add_scaled",
  infer({ a, b, factor }, { dtype }) {
    if (a.shape.join() !== b.shape.join() || !isFloat(a) || !isFloat(b) || a.size % 4)
      throw new CogwheelError("add_scaled", `a and b must be f32 or f16 of one shape with a multiple of 4 values, got ${a} and ${b}`);
    if (factor.dtype !== "f32" || factor.size !== 4)
      throw new CogwheelError("add_scaled", `the factor must be f32 [4], the first of which counts, got ${factor}; pad it`);
    return { y: { shape: a.shape, dtype } };
  },
  mayTake: () => ({ y: "a" }),
  cost: ({ inputs: { a, b }, outputs: { y } }) => ({ flops: 2 * y.size, bytes: a.bytes + b.bytes + y.bytes }),
  lower({ inputs: { a, b, factor }, outputs: { y } }, { caps, inPlace }) {
    const row = [a, b, y].map(({ dtype }) => 4 * bytesOf[dtype]);
    return rowWindows(caps, y.size / 4, row).map((rows) =>
      dispatch({
        kernel,
        types: { A: a.dtype, B: b.dtype, Y: y.dtype },
        consts: { IN_PLACE: +inPlace },
        params: { count4: rows.count },
        bindings: { a: rowView(inPlace ? b : a, rows, 4), b: rowView(b, rows, 4), factor, y: rowView(y, rows, 4) },
        grid: foldGrid(Math.ceil(rows.count / 64), caps),
      }),
    );
  },
};
