/** add: the sum of two tensors, such as the gradients of a tensor that two nodes read. Kernels: kernels/elementwise/. */
import { add as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, type DType, isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, vectorWindows } from "../plan/dispatch.ts";

interface Inputs {
  a: Tensor;
  b: Tensor;
}

/** a and b of one shape, f32 or f16 each → the same shape. `dtype`: default that of a. */
export function add(a: Tensor, b: Tensor, dtype: DType = a.dtype): Tensor {
  return a.graph.record(addOp, { a, b }, { dtype }).y;
}

export const addOp: Op<Inputs, { dtype: DType }, "y"> = {
  name: "add",
  infer({ a, b }, { dtype }) {
    if (a.shape.join() !== b.shape.join()) throw new CogwheelError("add", `summands must have one shape, got ${a} and ${b}; reshape one`);
    if (!isFloat(a) || !isFloat(b)) throw new CogwheelError("add", `summands must be f32 or f16, got ${a} and ${b}; convert them`);
    return { y: { shape: a.shape, dtype } };
  },
  mayTake: () => ({ y: "a" }),
  cost: ({ inputs: { a, b }, outputs: { y } }) => ({ flops: y.size, bytes: a.bytes + b.bytes + y.bytes }),
  lower({ inputs: { a, b }, outputs: { y } }, { caps, inPlace }) {
    const each = [a, b, y].map(({ dtype }) => bytesOf[dtype]);
    return vectorWindows(caps, y.size, each).map((rows) =>
      dispatch({
        kernel,
        types: { A: a.dtype, B: b.dtype, Y: y.dtype },
        consts: { IN_PLACE: +inPlace },
        params: { count4: rows.count },
        bindings: { a: rowView(inPlace ? b : a, rows, 4), b: rowView(b, rows, 4), y: rowView(y, rows, 4) },
        grid: foldGrid(Math.ceil(rows.count / 64), caps),
      }),
    );
  },
};
