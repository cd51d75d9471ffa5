/** lpips_distance_gradient: what lpips_distance gives back to one of the two pictures' features. Kernels: kernels/loss/. */
import { lpipsDistanceGradient as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { cut, window, windowFits, wrap } from "../plan/windows.ts";
import { lanesOf } from "./lpips_distance.ts";

/** Of `lpips_distance`: its operands, what it left, and the gradient of its result. */
export interface LpipsDistanceGradientInputs {
  a: Tensor;
  b: Tensor;
  w: Tensor;
  /** f32 [B · T] */
  dy: Tensor;
  /** f32 [B · T, H · W, 2] */
  inverse: Tensor;
}

/** The gradient with respect to a, or to b, in its shape and type. */
export function lpipsDistanceGradient(of: LpipsDistanceGradientInputs, operand: "a" | "b"): Tensor {
  return of.a.graph.record(lpipsDistanceGradientOp, { ...of }, { operand }).dx;
}

export const lpipsDistanceGradientOp: Op<LpipsDistanceGradientInputs, { operand: "a" | "b" }, "dx"> = {
  name: "lpips_distance_gradient",
  infer({ a, dy, inverse }) {
    if (dy.dtype !== "f32" || inverse.shape.join() !== [dy.size, a.dim(2) * a.dim(3), 2].join() || dy.size !== a.dim(0) * a.dim(1))
      throw new CogwheelError(
        "lpips_distance_gradient",
        `dy must be f32 with a value for each of ${a.dim(0) * a.dim(1)} pictures, and inverse what lpips_distance gave, ` +
          `got ${dy} and ${inverse}`,
      );
    return { dx: { shape: a.shape, dtype: a.dtype } };
  },
  cost: ({ inputs: { a }, outputs: { dx } }) => ({ flops: 14 * a.size, bytes: 2 * a.bytes + dx.bytes }),
  lower({ inputs: { a, b, w, dy, inverse }, attrs: { operand }, outputs: { dx } }, { caps }) {
    const [positions, c4] = [a.dim(2) * a.dim(3), a.dim(-1) / 4];
    const lanes = lanesOf(caps, c4);
    const [own, other] = operand === "a" ? [a, b] : [b, a];
    const parts = cut(dy.size * positions, (start, n) => windowFits(a, start * c4, n * c4, caps));
    if (!parts)
      throw new CogwheelError(
        "lpips_distance_gradient",
        `a position of a [${a.shape.join(", ")}] must fit a binding of ${caps.maxBindingBytes} bytes, got ${4 * c4 * bytesOf[a.dtype]}`,
      );
    return parts.map(({ start, count }) => {
      const [fromA, fromB, to] = [own, other, dx].map((tensor) => window(tensor, start * c4, count * c4, caps));
      return dispatch({
        kernel,
        types: { A: a.dtype, Y: dx.dtype },
        consts: { LANES: lanes, SWAPPED: +(operand === "b") },
        params: {
          count,
          first: start,
          positions,
          c4,
          a_base: wrap(fromA!.base),
          b_base: wrap(fromB!.base),
          y_base: wrap(to!.base),
          slope: 2 / positions,
        },
        bindings: { a: fromA!.view, b: fromB!.view, w: { tensor: w, packing: "vector" }, dy, inverse, da: to!.view },
        grid: foldGrid(Math.ceil((count * lanes) / 64), caps),
      });
    });
  },
};
