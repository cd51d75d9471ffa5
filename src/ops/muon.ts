/** muon: a matrix moved along its orthogonal update. Kernels: kernels/training/. */
import { muon as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, vectorWindows } from "../plan/dispatch.ts";
import { assertControl } from "./gradient_norm.ts";

interface Inputs {
  p: Tensor;
  update: Tensor;
  control: Tensor;
}

/** p and update f32 of one shape → the next p, moved by lr · scale; what it was where the step is not taken. */
export function muon(p: Tensor, update: Tensor, control: Tensor, { scale }: { scale: number }): Tensor {
  return p.graph.record(muonOp, { p, update, control }, { scale }).next;
}

export const muonOp: Op<Inputs, { scale: number }, "next"> = {
  name: "muon",
  infer({ p, update, control }) {
    if (p.dtype !== "f32" || update.dtype !== "f32" || p.shape.join() !== update.shape.join())
      throw new CogwheelError("muon", `p and its update must be f32 of one shape, got ${p} and ${update}; reshape one`);
    assertControl("muon", control);
    return { next: { shape: p.shape, dtype: "f32" } };
  },
  mayTake: () => ({ next: "p" }),
  cost: ({ outputs: { next } }) => ({ flops: 3 * next.size, bytes: 3 * next.bytes }),
  lower({ inputs: { p, update, control }, attrs, outputs: { next } }, { caps, inPlace }) {
    return vectorWindows(caps, p.size, [4]).map((rows) => {
      const of = (tensor: Tensor) => rowView(tensor, rows, 4);
      return dispatch({
        kernel,
        consts: { IN_PLACE: +inPlace },
        params: { count4: rows.count, ...attrs },
        bindings: { p: of(inPlace ? update : p), update: of(update), control, next: of(next) },
        grid: foldGrid(Math.ceil(rows.count / 64), caps),
      });
    });
  },
};
