/** qkv_norm_rope: split the joint projection of q, k and v, normalise q and k per head, rotate them, lay out by head. */
import { qkvNormRope as kernel } from "#kernels";
import { CogwheelError } from "../errors.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../graph/dispatch.ts";
import { bytesOf, type DType, type Op, type Tensor } from "../graph/graph.ts";

interface Inputs { qkv: Tensor; normQ: Tensor | undefined; normK: Tensor | undefined; rope: Tensor | undefined; position: Tensor | undefined }
interface Attrs { heads: number; eps: number; dtype: DType }

export interface QkvOptions {
  heads: number;
  /** LayerNorm over the head: weight then bias, [2, D] each. */
  norm?: { q: Tensor; k: Tensor; eps: number };
  /** table [P, D] of (cos, sin) pairs; position [R] u32, the token's row of it. */
  rope?: { table: Tensor; position: Tensor };
  /** Storage type of the results. Default f32. */
  dtype?: DType;
}

/** qkv [R, 3·N·D] → q, k, v [N, R, D]. D: a multiple of 4 up to 256. */
export function qkvNormRope(qkv: Tensor, options: QkvOptions): { q: Tensor; k: Tensor; v: Tensor } {
  return qkv.graph.record(
    qkvNormRopeOp,
    { qkv, normQ: options.norm?.q, normK: options.norm?.k, rope: options.rope?.table, position: options.rope?.position },
    { heads: options.heads, eps: options.norm?.eps ?? 0, dtype: options.dtype ?? "f32" },
  );
}

export const qkvNormRopeOp: Op<Inputs, Attrs, "q" | "k" | "v"> = {
  name: "qkv_norm_rope",
  infer({ qkv, normQ, normK, rope, position }, { heads, dtype }) {
    const width = qkv.dim(-1);
    const d = width / (3 * heads);
    const rows = qkv.size / width;
    if (!Number.isInteger(d) || d % 4 || d > 256) throw new CogwheelError("qkv_norm_rope", `the projection must have 3 · heads · D columns with D a multiple of 4 up to 256, got ${qkv} for ${heads} heads`);
    if (normQ && (normQ.size !== 2 * d || normK?.size !== 2 * d)) throw new CogwheelError("qkv_norm_rope", `head norms must be [2, ${d}], got ${normQ} and ${normK}`);
    if (rope && (rope.dim(-1) !== d || rope.dtype !== "f32" || position?.size !== rows || position.dtype !== "u32")) throw new CogwheelError("qkv_norm_rope", `rope must be f32 [P, ${d}] with ${rows} u32 positions, got ${rope} and ${position}`);
    const spec = { shape: [heads, rows, d], dtype };
    return { q: spec, k: spec, v: spec };
  },
  cost({ inputs: { qkv }, outputs: { q } }) {
    return { flops: 20 * q.size, bytes: qkv.bytes + 3 * q.bytes };
  },
  lower({ inputs: { qkv, normQ, normK, rope, position }, attrs, outputs: { q, k, v } }, { caps }) {
    const [heads, rowsTotal, d] = q.shape as [number, number, number];
    const d4 = d / 4;
    const per = Math.max(1, Math.floor(64 / d4));
    const headElements = rowsTotal * d;
    return rowWindows(caps, heads, [headElements * bytesOf[q.dtype]]).flatMap((h) =>
      rowWindows(caps, rowsTotal, [3 * heads * d * bytesOf[qkv.dtype], ...(position ? [4] : [])]).map((w) => {
        const unused = rowView(qkv, w, 3 * heads * d);
        const count = w.count * h.count;
        return dispatch({
          kernel, types: { X: qkv.dtype, Y: q.dtype },
          consts: { D4: d4, PER: per, NORM: +!!normQ, ROPE: +!!rope },
          params: { rows: w.count, heads, head_base: h.start, heads_here: h.count, count, row_base: w.start, rows_total: rowsTotal, eps: attrs.eps },
          bindings: {
            qkv: unused, norm_q: normQ ?? unused, norm_k: normK ?? unused, rope: rope ?? unused, position: position ? rowView(position, w, 1) : unused,
            q: rowView(q, h, headElements), k: rowView(k, h, headElements), v: rowView(v, h, headElements),
          },
          grid: foldGrid(Math.ceil(count / per), caps),
        });
      }),
    );
  },
};
