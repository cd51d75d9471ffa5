/** matmul: y = x · wᵀ (+ bias), with what follows it fused into its epilogue. Kernels: kernels/matmul/. */
import { CogwheelError } from "../base/errors.ts";
import { type DType, isFloat } from "../graph/dtype.ts";
import { assertKnown } from "../graph/known-name.ts";
import type { Op } from "../graph/op.ts";
import { padTo } from "../graph/packing.ts";
import { assertRows } from "../graph/row-index.ts";
import type { Tensor } from "../graph/tensor.ts";
import { lowerMatmul } from "./matmul/lower.ts";
import { ACTIVATIONS, type Activation, type MatmulAttrs, type MatmulInputs } from "./matmul/operands.ts";
import { padColumns } from "./pad_columns.ts";

/** What `matmul` takes beside its operands. */
export interface MatmulOptions {
  /** [N] */
  bias?: Tensor;
  /** Applied to x·wᵀ + bias; `gelu` is the tanh approximation. */
  activation?: Activation;
  /** [..., N] f32, added last. */
  residual?: Tensor;
  /** Width D of a head: the result is [N/D, M, D], head by head, as attention reads it. A multiple of 4 that divides N. */
  heads?: number;
  /** [..., N] f32, added before the activation; not with a residual. */
  addend?: Tensor;
  /** [G, N] f32 with `rows` [M] u32: the product is scaled by row `rows[m]` before the residual is added. */
  gate?: { table: Tensor; rows: Tensor };
  /** Storage type of the result. Default f32. */
  dtype?: DType;
}

/**
 * x [..., K] and w [N, K] (as a Linear stores it) → [..., N], padded with zeros to a multiple of 4 (so are residual, addend and gate); or
 * by head. A weight w is packed once, when it is loaded; an input or an activation before the product, in each run.
 */
export function matmul(x: Tensor, w: Tensor, options: MatmulOptions = {}): Tensor {
  const { bias, addend, gate } = options;
  assertKnown("matmul", "the activation", options.activation, ACTIVATIONS);
  if (addend && options.residual)
    throw new CogwheelError("matmul", "an addend and a residual cannot be given together, got both; add one of them before");
  const residual = addend ?? options.residual;
  return x.graph.record(
    matmulOp,
    { x: x.dim(-1) === w.dim(1) ? padColumns(x) : x, w, bias, residual, gate: gate?.table, gateRow: gate?.rows },
    {
      dtype: options.dtype ?? "f32",
      activation: options.activation ?? null,
      early: addend !== undefined,
      heads: options.heads ?? null,
    },
  ).y;
}

export const matmulOp: Op<MatmulInputs, MatmulAttrs, "y"> = {
  name: "matmul",
  infer({ x, w, bias, residual, gate, gateRow }, { dtype, heads }) {
    const [n, k] = [padTo(w.dim(0), 4), w.dim(1)];
    const m = x.size / x.dim(-1);
    const shape = heads === null ? [...x.shape.slice(0, -1), n] : [n / heads, m, heads];
    if (w.shape.length !== 2 || !isFloat(x) || !isFloat(w))
      throw new CogwheelError(
        "matmul",
        `x must be f32 or f16 [..., K] and w [N, K], got x ${show(x)} and w ${show(w)}; reshape or convert them`,
      );
    if (x.dim(-1) !== padTo(k, 4))
      throw new CogwheelError("matmul", `inner dimensions must match, got x ${show(x)} and w ${show(w)}; w is stored [out, in]`);
    if (bias && (bias.size !== w.dim(0) || bias.dtype !== "f32"))
      throw new CogwheelError(
        "matmul",
        `the bias must have ${w.dim(0)} values in f32, got ${show(bias)}; check the weight's name and type`,
      );
    if (residual && (residual.size !== m * n || residual.dtype !== "f32"))
      throw new CogwheelError("matmul", `the residual must be f32 ${JSON.stringify([m, n])}, got ${show(residual)}`);
    if (heads !== null && (heads % 4 || w.dim(0) % heads))
      throw new CogwheelError(
        "matmul",
        `a head's width must be a multiple of 4 that divides the ${w.dim(0)} columns, got ${heads}; lay the result out by row`,
      );
    if (gate && (gate.dim(-1) !== n || gate.dtype !== "f32" || gateRow?.size !== m || gateRow.dtype !== "u32")) {
      throw new CogwheelError(
        "matmul",
        `a gate must be f32 [G, ${n}] with one u32 row a token, got ${show(gate)} and ${gateRow ? show(gateRow) : "no rows"}`,
      );
    }
    if (gate) assertRows("matmul", "the gate", gateRow!, gate.size / n);
    return { y: { shape, dtype } };
  },
  // A residual stream is added to where it lies. An addend is read before the activation, and a result by head lies otherwise.
  mayTake: ({ attrs: { early, heads } }) => (early || heads !== null ? {} : { y: "residual" }),
  cost({ inputs: { x, w, residual }, outputs: { y } }) {
    return { flops: 2 * y.size * x.dim(-1), bytes: x.bytes + w.bytes + y.bytes + (residual?.bytes ?? 0) };
  },
  lower: lowerMatmul,
};

const show = (t: Tensor): string => `[${t.shape.join(", ")}] ${t.dtype}`;
