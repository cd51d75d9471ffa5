/** ema: an exponential moving average of a parameter. Kernels: kernels/training/. */
import { ema as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, vectorWindows } from "../plan/dispatch.ts";
import { assertControl } from "./gradient_norm.ts";

interface Inputs {
  average: Tensor;
  p: Tensor;
  control: Tensor;
}

/** average and p f32 of one shape → the next average; the same one where the step is not taken. */
export function ema(average: Tensor, p: Tensor, control: Tensor): Tensor {
  return average.graph.record(emaOp, { average, p, control }, {}).next;
}

export const emaOp: Op<Inputs, object, "next"> = {
  name: "ema",
  infer({ average, p, control }) {
    if (average.dtype !== "f32" || p.dtype !== "f32" || average.shape.join() !== p.shape.join())
      throw new CogwheelError("ema", `the average and p must be f32 of one shape, got ${average} and ${p}; reshape them`);
    assertControl("ema", control);
    return { next: { shape: p.shape, dtype: "f32" } };
  },
  mayTake: () => ({ next: "average" }),
  cost: ({ outputs: { next } }) => ({ flops: 3 * next.size, bytes: 3 * next.bytes }),
  lower({ inputs: { average, p, control }, outputs: { next } }, { caps, inPlace }) {
    return vectorWindows(caps, p.size, [4]).map((rows) => {
      const of = (tensor: Tensor) => rowView(tensor, rows, 4);
      return dispatch({
        kernel,
        consts: { IN_PLACE: +inPlace },
        params: { count4: rows.count },
        bindings: { average: of(inPlace ? p : average), p: of(p), control, next: of(next) },
        grid: foldGrid(Math.ceil(rows.count / 64), caps),
      });
    });
  },
};
