/** pad_columns: zeros after the last column, for kernels that read vectors of four; or without the last columns. Kernels: kernels/elementwise/. */
import { padColumns as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { padTo } from "../graph/packing.ts";

/** x [..., C] → [..., C rounded up to `multiple`]; x itself where that changes nothing. */
export function padColumns(x: Tensor, multiple = 4): Tensor {
  return x.dim(-1) % multiple === 0 ? x : x.graph.record(padColumnsOp, { x }, { columns: padTo(x.dim(-1), multiple) }).y;
}

/** x [..., S] → [..., columns], the first of them. */
export function cutColumns(x: Tensor, columns: number): Tensor {
  return x.dim(-1) === columns ? x : x.graph.record(padColumnsOp, { x }, { columns }).y;
}

export const padColumnsOp: Op<{ x: Tensor }, { columns: number }, "y"> = {
  name: "pad_columns",
  infer({ x }, { columns }) {
    if (x.dtype !== "f32" && x.dtype !== "f16") throw new CogwheelError("pad_columns", `x must be f32 or f16, got ${x}`);
    return { y: { shape: [...x.shape.slice(0, -1), columns], dtype: x.dtype } };
  },
  cost: ({ inputs: { x }, outputs: { y } }) => ({ flops: 0, bytes: x.bytes + y.bytes }),
  lower({ inputs: { x }, outputs: { y } }, { caps }) {
    return [
      dispatch({
        kernel,
        types: { X: x.dtype },
        params: { count: y.size, columns: x.dim(-1), stride: y.dim(-1) },
        bindings: { x, y },
        grid: foldGrid(Math.ceil(y.size / 64), caps),
      }),
    ];
  },
};
