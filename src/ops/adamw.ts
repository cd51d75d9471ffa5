/** adamw: one step of AdamW on a parameter. Kernels: kernels/training/. */
import { adamw as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, vectorWindows } from "../plan/dispatch.ts";
import { assertControl } from "./gradient_norm.ts";

/** What `adamw` reads and updates. */
export interface AdamwArguments {
  /** The parameter, and the running means of its gradient and of its gradient's square: of one shape, f32. */
  p: Tensor;
  m: Tensor;
  v: Tensor;
  /** The gradient, of their shape. */
  g: Tensor;
  /** [16], as `gradientNorm` gives it. */
  control: Tensor;
}

/** → the next p, m and v, or what they were where the step is not taken. In their place, where they are states that get these values. */
export function adamw(of: AdamwArguments): { p: Tensor; m: Tensor; v: Tensor } {
  return of.p.graph.record(adamwOp, { ...of }, {});
}

export const adamwOp: Op<{ [K in keyof AdamwArguments]: Tensor }, object, "p" | "m" | "v"> = {
  name: "adamw",
  infer({ p, m, v, g, control }) {
    for (const tensor of [p, m, v, g])
      if (tensor.dtype !== "f32" || tensor.shape.join() !== p.shape.join())
        throw new CogwheelError("adamw", `p, m, v and g must be f32 of one shape, got ${tensor} for ${p}; reshape them`);
    assertControl("adamw", control);
    const spec = { shape: p.shape, dtype: "f32" as const };
    return { p: spec, m: spec, v: spec };
  },
  mayTake: () => ({ p: "p", m: "m", v: "v" }),
  cost: ({ outputs: { p } }) => ({ flops: 16 * p.size, bytes: 7 * p.bytes }),
  lower({ inputs: { p, m, v, g, control }, outputs: next }, { caps, inPlace }) {
    return vectorWindows(caps, p.size, [4]).map((rows) => {
      const of = (tensor: Tensor) => rowView(tensor, rows, 4);
      return dispatch({
        kernel,
        consts: { IN_PLACE: +inPlace },
        params: { count4: rows.count },
        bindings: {
          p: of(inPlace ? g : p),
          m: of(inPlace ? g : m),
          v: of(inPlace ? g : v),
          g: of(g),
          control,
          p_next: of(next.p),
          m_next: of(next.m),
          v_next: of(next.v),
        },
        grid: foldGrid(Math.ceil(rows.count / 64), caps),
      });
    });
  },
};
