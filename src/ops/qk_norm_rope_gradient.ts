/** qk_norm_rope_gradient: dx of queries, or of keys, that are normalised per head and rotated; dnorm. Kernels: kernels/attention/. */
import { qkNormRopeGradient as headKernel, qkNormRopeGradientSubgroup } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import { bytesOf, isFloat } from "../graph/dtype.ts";
import type { Dispatch, Op } from "../graph/op.ts";
import type { Tensor, TensorSpec } from "../graph/tensor.ts";
import { choiceKey } from "../plan/choice.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";
import { headCandidates } from "./rows/heads.ts";
import { sumGroups } from "./reduce/groups.ts";

interface Inputs {
  x: Tensor;
  dy: Tensor;
  norm: Tensor | undefined;
  rope: Tensor | undefined;
  position: Tensor | undefined;
}
interface Attrs {
  eps: number;
  rms: boolean;
  /** Is the norm's gradient asked for? */
  ofNorm: boolean;
}

/** Workgroups whose parts of the norm's gradient are then summed: enough to fill an adapter. */
const PARTS: Readonly<Record<Capabilities["kind"], number>> = { hardware: 2048, software: 128 };

/**
 * x [N, R, D], q or k before qk_norm_rope, and dy of its shape → dx, of the shape and type of x, and with `ofNorm` the gradient of the
 * norm's weight and bias, [2, D] f32, or [D] of an RMSNorm's weight. Norm, rope and position as in qk_norm_rope.
 */
export function qkNormRopeGradient(inputs: Inputs, attrs: Attrs): { dx: Tensor; dnorm?: Tensor } {
  return inputs.x.graph.record(qkNormRopeGradientOp, inputs, attrs);
}

export const qkNormRopeGradientOp: Op<Inputs, Attrs, "dx" | "dnorm"> = {
  name: "qk_norm_rope_gradient",
  infer({ x, dy, norm, rope, position }, { rms, ofNorm }) {
    const [, rows, d] = x.shape as [number, number, number];
    if (x.shape.length !== 3 || x.shape.join() !== dy.shape.join() || !isFloat(x) || !isFloat(dy) || d % 4 || d > 256)
      throw new CogwheelError(
        "qk_norm_rope_gradient",
        `x and dy must be f32 or f16 [N, R, D] of one shape, D a multiple of 4 up to 256, got ${x} and ${dy}; reshape or convert them`,
      );
    if ((ofNorm && !norm) || (norm && norm.size !== (rms ? d : 2 * d)) || (rope && (rope.dim(-1) !== d || position?.size !== rows)))
      throw new CogwheelError(
        "qk_norm_rope_gradient",
        "norm and rope must be those of the queries or keys, " +
          `got ${norm ?? "no norm"}, ${rope ?? "no rope"}, ${position ?? "no positions"} for ${x}; pass what the op was given`,
      );
    const dx: TensorSpec = { shape: x.shape, dtype: x.dtype };
    return { dx, ...(ofNorm ? { dnorm: { shape: norm!.shape, dtype: "f32" } } : {}) } as Record<"dx" | "dnorm", TensorSpec>;
  },
  mayTake: () => ({ dx: "dy" }),
  cost: ({ inputs: { x, dy }, outputs: { dx } }) => ({ flops: 20 * x.size, bytes: x.bytes + dy.bytes + dx.bytes }),
  lower({ inputs: { x, dy, norm, rope, position }, attrs, outputs }, target) {
    const { caps, inPlace } = target;
    const [heads, rows, d] = x.shape as [number, number, number];
    const variant = target.choose(
      choiceKey("qk_norm_rope_gradient", { rows: heads * rows }, { d }, [x.dtype, dy.dtype]),
      headCandidates(caps, d),
    );
    const windows = rowWindows(
      caps,
      heads,
      [x, dy].map(({ dtype }) => rows * d * bytesOf[dtype]),
    );
    // Tokens after each other in a workgroup: for sums as many as leave so many parts.
    const least = variant.name === "subgroup" ? variant.items : 1;
    const each = variant.name === "subgroup" ? 1 : variant.items;
    const most = Math.min(PARTS[caps.kind], Math.floor(caps.maxBindingBytes / (8 * d)) - windows.length);
    const span = attrs.ofNorm ? Math.max(least, Math.ceil((heads * rows) / each / most)) : least;
    const groups = windows.map(({ count }) => Math.ceil((count * rows) / (each * span)));
    const total = groups.reduce((a, b) => a + b);
    const parts = attrs.ofNorm ? target.scratch([total, 2, d], "f32") : target.scratch([4], "f32");
    let first = 0;
    const dispatches: Dispatch[] = windows.map((w, i) => {
      const view = (tensor: Tensor) => rowView(tensor, w, rows * d);
      const unused = view(x);
      const common = {
        types: { X: x.dtype, G: dy.dtype },
        params: { rows, count: w.count * rows, span, first_part: first, eps: attrs.eps },
        bindings: {
          x: view(x),
          dy: inPlace ? unused : view(dy),
          norm: norm ?? unused,
          rope: rope ?? unused,
          position: position ?? unused,
          dx: view(outputs.dx),
          parts,
        },
        grid: foldGrid(groups[i]!, caps),
      };
      first += groups[i]!;
      const consts = { D4: d / 4, NORM: +!!norm, ROPE: +!!rope, RMS: +attrs.rms, SUMS: +attrs.ofNorm, IN_PLACE: +inPlace };
      return variant.name === "subgroup"
        ? dispatch({ kernel: qkNormRopeGradientSubgroup, ...common, consts, overrides: { WG: variant.wg } })
        : dispatch({ kernel: headKernel, ...common, consts: { ...consts, PER: variant.items } });
    });
    if (!attrs.ofNorm) return dispatches;
    // An RMSNorm has no bias, whose sums are the second half of a part.
    const sums = attrs.rms ? target.scratch([2, d], "f32") : outputs.dnorm;
    dispatches.push(sumGroups(parts, Uint32Array.of(0, total), sums, target));
    if (attrs.rms) dispatches.push(sumGroups(sums, Uint32Array.of(0, 1), outputs.dnorm, target));
    return dispatches;
  },
};
