/**
 * qk_norm_rope: normalise queries and keys per head and rotate them, where they lie if nobody else reads them.
 * Kernels: kernels/attention/.
 */
import { qkNormRope as headKernel, qkNormRopeSubgroup } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, isFloat } from "../graph/dtype.ts";
import { assertKnown } from "../graph/known-name.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { choiceKey } from "../plan/choice.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";
import { assertRows } from "../graph/row-index.ts";
import { headCandidates } from "./rows/heads.ts";

interface Inputs {
  q: Tensor;
  k: Tensor;
  normQ: Tensor | undefined;
  normK: Tensor | undefined;
  rope: Tensor | undefined;
  position: Tensor | undefined;
}
interface Attrs {
  eps: number;
  rms: boolean;
  pairs: "interleaved" | "halves";
}

/** What `qkNormRope` does to queries and keys. */
export interface QkOptions {
  /** Over the head: LayerNorm (default) with weight then bias, [2, D] each; or RMSNorm with a weight, [D] each. */
  norm?: { q: Tensor; k: Tensor; eps: number; kind?: "layer_norm" | "rms_norm" };
  /**
   * table [P, D] of (cos, sin) pairs; position [R] u32, the token's row of it. Channels 2i and 2i + 1 are a pair (`interleaved`, the
   * default and all that the kernels do).
   */
  rope?: { table: Tensor; position: Tensor; pairs?: "interleaved" | "halves" };
}

/**
 * q, k [N, R, D], as `matmul` gives them by head → the same. D: a multiple of 4 up to 256. */
export function qkNormRope(q: Tensor, k: Tensor, options: QkOptions): { q: Tensor; k: Tensor } {
  if (!options.norm && !options.rope) return { q, k };
  assertKnown("qk_norm_rope", "the kind of norm", options.norm?.kind, ["layer_norm", "rms_norm"]);
  return q.graph.record(
    qkNormRopeOp,
    { q, k, normQ: options.norm?.q, normK: options.norm?.k, rope: options.rope?.table, position: options.rope?.position },
    { eps: options.norm?.eps ?? 0, rms: options.norm?.kind === "rms_norm", pairs: options.rope?.pairs ?? "interleaved" },
  );
}

export const qkNormRopeOp: Op<Inputs, Attrs, "q" | "k"> = {
  name: "qk_norm_rope",
  infer({ q, k, normQ, normK, rope, position }, { rms, pairs }) {
    const [, rows, d] = q.shape as [number, number, number];
    if (q.shape.length !== 3 || q.shape.join() !== k.shape.join() || q.dtype !== k.dtype)
      throw new CogwheelError("qk_norm_rope", `q and k must be [N, R, D] of one dtype, got ${q} and ${k}; lay them out by head`);
    if (d % 4 || d > 256) throw new CogwheelError("qk_norm_rope", `the head width must be a multiple of 4 up to 256, got ${d}`);
    if (!isFloat(q)) throw new CogwheelError("qk_norm_rope", `q and k must be f32 or f16, got ${q}; convert them`);
    const values = rms ? d : 2 * d;
    if (normQ && (normQ.size !== values || normK?.size !== values || normQ.dtype !== "f32" || normK.dtype !== "f32"))
      throw new CogwheelError("qk_norm_rope", `head norms must be f32 [${rms ? "" : "2, "}${d}], got ${normQ} and ${normK}`);
    if (pairs !== "interleaved")
      throw new CogwheelError(
        "qk_norm_rope",
        `a head's channels are rotated in interleaved pairs, got pairs ${JSON.stringify(pairs)}; ` +
          "order the rows of the projections so that the channels of a pair lie side by side",
      );
    if (rope && (rope.dim(-1) !== d || rope.dtype !== "f32" || position?.size !== rows || position.dtype !== "u32"))
      throw new CogwheelError("qk_norm_rope", `rope must be f32 [P, ${d}] with ${rows} u32 positions, got ${rope} and ${position}`);
    if (rope) assertRows("qk_norm_rope", "the rope's table", position!, rope.size / d);
    return { q: { shape: q.shape, dtype: q.dtype }, k: { shape: k.shape, dtype: k.dtype } };
  },
  mayTake: () => ({ q: "q", k: "k" }),
  cost({ outputs: { q } }) {
    return { flops: 20 * q.size, bytes: 4 * q.bytes };
  },
  lower({ inputs, attrs, outputs }, target) {
    const { caps } = target;
    const { q, k, normQ, normK, rope, position } = inputs;
    const [heads, rows, d] = q.shape as [number, number, number];
    const variant = target.choose(choiceKey("qk_norm_rope", { rows: heads * rows }, { d }, [q.dtype]), headCandidates(caps, d));
    return rowWindows(caps, heads, [rows * d * bytesOf[q.dtype]]).map((w) => {
      const view = (x: Tensor) => rowView(x, w, rows * d);
      const unused = normQ ?? rope!;
      const count = w.count * rows;
      const common = {
        types: { X: q.dtype },
        params: { rows, count, eps: attrs.eps },
        bindings: {
          q_from: target.inPlace ? unused : view(q),
          k_from: target.inPlace ? unused : view(k),
          norm_q: normQ ?? unused,
          norm_k: normK ?? unused,
          rope: rope ?? unused,
          position: position ?? unused,
          q: view(outputs.q),
          k: view(outputs.k),
        },
        grid: foldGrid(Math.ceil(count / variant.items), caps),
      };
      const consts = { D4: d / 4, NORM: +!!normQ, ROPE: +!!rope, RMS: +attrs.rms, IN_PLACE: +target.inPlace };
      return variant.name === "subgroup"
        ? dispatch({ kernel: qkNormRopeSubgroup, ...common, consts, overrides: { WG: variant.wg } })
        : dispatch({ kernel: headKernel, ...common, consts: { ...consts, PER: variant.items } });
    });
  },
};
