/** What ops share that compute each value from the one at its place, in vectors of four: x to y, and the gradient of such an op. */
import type { silu, siluGradient } from "#kernels";
import { CogwheelError } from "../../base/errors.ts";
import type { Capabilities } from "../../gpu/capabilities.ts";
import { bytesOf, type DType, isFloat } from "../../graph/dtype.ts";
import type { Dispatch, Op } from "../../graph/op.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { dispatch, foldGrid, rowView, vectorWindows } from "../../plan/dispatch.ts";

/** x → y of as many values. */
export function lowerUnary(kernel: typeof silu, x: Tensor, y: Tensor, caps: Capabilities): Dispatch[] {
  return vectorWindows(caps, x.size, [bytesOf[x.dtype], bytesOf[y.dtype]]).map((rows) =>
    dispatch({
      kernel,
      types: { X: x.dtype, Y: y.dtype },
      params: { count4: rows.count },
      bindings: { x: rowView(x, rows, 4), y: rowView(y, rows, 4) },
      grid: foldGrid(Math.ceil(rows.count / 64), caps),
    }),
  );
}

/** An activation: x f32 or f16 → the same shape. @param flops of a value */
export const activationOp = (name: string, kernel: typeof silu, flops: number): Op<{ x: Tensor }, { dtype: DType }, "y"> => ({
  name,
  infer({ x }, { dtype }) {
    if (!isFloat(x)) throw new CogwheelError(name, `x must be f32 or f16, got ${x}; convert it`);
    return { y: { shape: x.shape, dtype } };
  },
  cost: ({ inputs: { x }, outputs: { y } }) => ({ flops: flops * y.size, bytes: x.bytes + y.bytes }),
  lower: ({ inputs: { x }, outputs: { y } }, { caps }) => lowerUnary(kernel, x, y, caps),
});

/** Its gradient: x, and dy of its shape, f32 or f16 each → dx. @param flops of a value */
export const activationGradientOp = (
  name: string,
  kernel: typeof siluGradient,
  flops: number,
): Op<{ x: Tensor; dy: Tensor }, { dtype: DType }, "dx"> => ({
  name,
  infer({ x, dy }, { dtype }) {
    if (x.shape.join() !== dy.shape.join() || !isFloat(x) || !isFloat(dy))
      throw new CogwheelError(name, `x and dy must be f32 or f16 of one shape, got ${x} and ${dy}; reshape or convert them`);
    return { dx: { shape: x.shape, dtype } };
  },
  mayTake: () => ({ dx: "dy" }),
  cost: ({ inputs: { x, dy }, outputs: { dx } }) => ({ flops: flops * dx.size, bytes: x.bytes + dy.bytes + dx.bytes }),
  lower({ inputs: { x, dy }, outputs: { dx } }, { caps, inPlace }) {
    const each = [x, dy, dx].map(({ dtype }) => bytesOf[dtype]);
    return vectorWindows(caps, x.size, each).map((rows) =>
      dispatch({
        kernel,
        types: { X: x.dtype, G: dy.dtype, Y: dx.dtype },
        consts: { IN_PLACE: +inPlace },
        params: { count4: rows.count },
        bindings: { x: rowView(x, rows, 4), dy: rowView(inPlace ? x : dy, rows, 4), dx: rowView(dx, rows, 4) },
        grid: foldGrid(Math.ceil(rows.count / 64), caps),
      }),
    );
  },
});
