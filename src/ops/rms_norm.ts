/** rms_norm: y = x / √(mean(x²) + eps) · weight, along the last axis. Kernels: kernels/norm/. */
import { rmsNorm as rowKernel, rmsNormSubgroup } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, type DType, isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { choiceKey } from "../plan/choice.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";
import { rowNormCandidates } from "./rows/norm.ts";

interface Inputs {
  x: Tensor;
  weight: Tensor;
}
interface Attrs {
  eps: number;
  dtype: DType;
}

export interface RmsNormOptions {
  /** Default 1e-6. */
  eps?: number;
  /** Storage type of the result. Default f32. */
  dtype?: DType;
}

/** x [..., C] and weight [C] → [..., C]. C must be a multiple of 4. */
export function rmsNorm(x: Tensor, weight: Tensor, options: RmsNormOptions = {}): Tensor {
  return x.graph.record(rmsNormOp, { x, weight }, { eps: options.eps ?? 1e-6, dtype: options.dtype ?? "f32" }).y;
}

export const rmsNormOp: Op<Inputs, Attrs, "y"> = {
  name: "rms_norm",
  infer({ x, weight }, { dtype }) {
    const c = x.dim(-1);
    if (!isFloat(x)) throw new CogwheelError("rms_norm", `x must be f32 or f16, got ${x}; convert it`);
    if (c % 4) throw new CogwheelError("rms_norm", `the last axis must be a multiple of 4, got ${x}; choose another width`);
    if (weight.size !== c || weight.dtype !== "f32")
      throw new CogwheelError("rms_norm", `the weight must be f32 [${c}], got ${weight}; check its name and type`);
    return { y: { shape: x.shape, dtype } };
  },
  cost({ inputs: { x, weight }, outputs: { y } }) {
    return { flops: 5 * x.size, bytes: x.bytes + weight.bytes + y.bytes };
  },
  lower({ inputs: { x, weight }, attrs, outputs: { y } }, target) {
    const { caps } = target;
    const c = x.dim(-1);
    const variant = target.choose(choiceKey("rms_norm", { rows: x.size / c }, { c }, [x.dtype, y.dtype]), rowNormCandidates(caps, c));
    return rowWindows(caps, x.size / c, [c * bytesOf[x.dtype], c * bytesOf[y.dtype]]).map((rows) => {
      const common = {
        types: { X: x.dtype, Y: y.dtype },
        params: { rows: rows.count, c4: c / 4, eps: attrs.eps },
        bindings: { x: rowView(x, rows, c), weight: { tensor: weight, packing: "vector" as const }, y: rowView(y, rows, c) },
      };
      return variant.name === "subgroup"
        ? dispatch({ kernel: rmsNormSubgroup, ...common, overrides: { WG: variant.wg }, grid: foldGrid(Math.ceil(rows.count / 4), caps) })
        : dispatch({ kernel: rowKernel, ...common, consts: { WG: variant.wg, PER: variant.per }, grid: foldGrid(rows.count, caps) });
    });
  },
};
