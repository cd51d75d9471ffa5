/** muon_momentum: Muon's momentum of a matrix, and the direction that is made orthogonal. Kernels: kernels/training/. */
import { muonMomentum as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, vectorWindows } from "../plan/dispatch.ts";
import { assertControl } from "./gradient_norm.ts";

interface Inputs {
  m: Tensor;
  g: Tensor;
  control: Tensor;
}

/** m and g f32 of one shape → the next m, and the direction: zeros where the step is not taken. */
export function muonMomentum(m: Tensor, g: Tensor, control: Tensor): { m: Tensor; direction: Tensor } {
  return m.graph.record(muonMomentumOp, { m, g, control }, {});
}

export const muonMomentumOp: Op<Inputs, object, "m" | "direction"> = {
  name: "muon_momentum",
  infer({ m, g, control }) {
    if (m.dtype !== "f32" || g.dtype !== "f32" || m.shape.join() !== g.shape.join())
      throw new CogwheelError("muon_momentum", `m and g must be f32 of one shape, got ${m} and ${g}; reshape one`);
    assertControl("muon_momentum", control);
    const spec = { shape: m.shape, dtype: "f32" as const };
    return { m: spec, direction: spec };
  },
  mayTake: () => ({ m: "m" }),
  cost: ({ outputs: { m } }) => ({ flops: 6 * m.size, bytes: 4 * m.bytes }),
  lower({ inputs: { m, g, control }, outputs }, { caps, inPlace }) {
    return vectorWindows(caps, m.size, [4]).map((rows) => {
      const of = (tensor: Tensor) => rowView(tensor, rows, 4);
      return dispatch({
        kernel,
        consts: { IN_PLACE: +inPlace },
        params: { count4: rows.count },
        bindings: { m: of(inPlace ? g : m), g: of(g), control, m_next: of(outputs.m), direction: of(outputs.direction) },
        grid: foldGrid(Math.ceil(rows.count / 64), caps),
      });
    });
  },
};
