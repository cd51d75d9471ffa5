/** gated_gelu: y = gelu(gate) · value, the two lying side by side; `gelu` is the tanh approximation. Kernels: kernels/elementwise/. */
import { gatedGelu as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, type DType } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";

interface Inputs {
  x: Tensor;
}
interface Attrs {
  dtype: DType;
}

export interface GatedGeluOptions {
  /** Storage type of the result. Default f32: T5's products pass 1e5 and would overflow f16. */
  dtype?: DType;
}

/** x [..., 2F], gate then value → [..., F]. F must be a multiple of 4. */
export function gatedGelu(x: Tensor, options: GatedGeluOptions = {}): Tensor {
  return x.graph.record(gatedGeluOp, { x }, { dtype: options.dtype ?? "f32" }).y;
}

export const gatedGeluOp: Op<Inputs, Attrs, "y"> = {
  name: "gated_gelu",
  infer({ x }, { dtype }) {
    if (x.dim(-1) % 8)
      throw new CogwheelError("gated_gelu", `the last axis must hold two halves of a multiple of 4, got ${x}; choose another width`);
    return { y: { shape: [...x.shape.slice(0, -1), x.dim(-1) / 2], dtype } };
  },
  cost({ inputs: { x }, outputs: { y } }) {
    return { flops: 12 * y.size, bytes: x.bytes + y.bytes };
  },
  lower({ inputs: { x }, outputs: { y } }, { caps }) {
    const f = y.dim(-1);
    return rowWindows(caps, y.size / f, [2 * f * bytesOf[x.dtype], f * bytesOf[y.dtype]]).map((rows) => {
      const count = (rows.count * f) / 4;
      return dispatch({
        kernel,
        types: { X: x.dtype, Y: y.dtype },
        params: { count, f4: f / 4 },
        bindings: { x: rowView(x, rows, 2 * f), y: rowView(y, rows, f) },
        grid: foldGrid(Math.ceil(count / 64), caps),
      });
    });
  },
};
