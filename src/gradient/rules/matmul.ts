/**
 * The gradient of matmul. Where one goes through it, its epilogue is recorded apart as far as the gradient has to know what was before:
 * the sums before an activation, the product before a gate whose table is trained. A gate whose table is not stays fused; its gradient
 * scales dy. Biases and residuals stay fused.
 */
import type { DType } from "../../graph/dtype.ts";
import type { RuleOf } from "../../graph/op.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { add } from "../../ops/add.ts";
import { cast } from "../../ops/cast.ts";
import { columnSums } from "../../ops/column_sums.ts";
import { gatedAdd } from "../../ops/gated_add.ts";
import { gelu } from "../../ops/gelu.ts";
import { mergeHeads, splitHeads } from "../../ops/heads.ts";
import { matmulOp } from "../../ops/matmul.ts";
import { matmulNn } from "../../ops/matmul_nn.ts";
import { matmulTn } from "../../ops/matmul_tn.ts";
import { silu } from "../../ops/silu.ts";
import type { MatmulAttrs, MatmulInputs } from "../../ops/matmul/operands.ts";

export const matmulRule: RuleOf<typeof matmulOp> = {
  plain(inputs, attrs, watched) {
    const y = plain(inputs, attrs, watched);
    return y && { y };
  },
  gradient: ({ inputs, attrs }, { y }, want) => gradient(inputs, attrs, y!, want),
};

function plain(inputs: MatmulInputs, attrs: MatmulAttrs, watched: (tensor: Tensor | undefined) => boolean): Tensor | undefined {
  const { x, w, bias, residual, gate, gateRow } = inputs;
  const { activation, early, heads, dtype, exact } = attrs;
  const inner = watched(x) || watched(w) || watched(bias) || (early && watched(residual));
  const activates = activation !== null && inner;
  if (!activates && !watched(gate)) return inner && !exact ? x.graph.record(matmulOp, inputs, { ...attrs, exact: true }).y : undefined;
  const late = early ? undefined : residual;
  // A gate and a residual are by row: what they follow is laid out by head last. Until then it is f32, as it is inside of the epilogue.
  const more = gate !== undefined || late !== undefined;
  const between = more ? "f32" : dtype;
  const product = x.graph.record(
    matmulOp,
    { x, w, bias, residual: early ? residual : undefined, gate: undefined, gateRow: undefined },
    { dtype: between, activation: activates ? null : activation, early, heads: more ? null : heads },
  ).y;
  const active = !activates ? product : activation === "gelu" ? gelu(product) : silu(product);
  if (!more) return active;
  const rest: { dtype: DType; residual?: Tensor } = { dtype, ...(late ? { residual: late } : {}) };
  const sum = gate ? gatedAdd(active, { table: gate, rows: gateRow! }, rest) : add(active, x.graph.reshape(late!, active.shape), dtype);
  return heads === null ? sum : splitHeads(sum, heads);
}

/** dX = dY · W, dW = dYᵀ · X, the columns' sums for the bias; dY by row, and scaled by the gate. */
function gradient(
  { x, w, bias, gate, gateRow }: MatmulInputs,
  { early, heads }: MatmulAttrs,
  dy: Tensor,
  want: ReadonlySet<keyof MatmulInputs>,
): { readonly [K in keyof MatmulInputs]?: Tensor } {
  const byRow = heads === null ? dy : mergeHeads(dy);
  // Two matrices in f16 have a gradient in f16 between them, for the same kernels: losses are scaled for that.
  const half = x.dtype === "f16" && w.dtype === "f16";
  const inner = want.has("x") || want.has("w") || want.has("bias") || (early && want.has("residual"));
  const before = inner && gate ? gatedAdd(byRow, { table: gate, rows: gateRow! }, { dtype: half ? "f16" : "f32" }) : byRow;
  const factor = inner && half ? cast(before, "f16") : before;
  return {
    ...(want.has("x") ? { x: matmulNn(factor, w, x.dtype) } : {}),
    ...(want.has("w") ? { w: matmulTn(factor, x, w.shape as [number, number]) } : {}),
    ...(bias && want.has("bias") ? { bias: columnSums(before, bias.size) } : {}),
    ...(want.has("residual") ? { residual: cast(early ? before : byRow, "f32") } : {}),
  };
}
