/** What nodes of matmul and matmul_nn hold. */
import type { DType } from "../../graph/dtype.ts";
import type { Tensor } from "../../graph/tensor.ts";

/** The activations of the epilogue; `gelu` is the tanh approximation. */
export const ACTIVATIONS = ["gelu", "silu"] as const;
export type Activation = (typeof ACTIVATIONS)[number];

export interface MatmulInputs {
  x: Tensor;
  w: Tensor;
  bias: Tensor | undefined;
  residual: Tensor | undefined;
  gate: Tensor | undefined;
  gateRow: Tensor | undefined;
}
export interface MatmulAttrs {
  dtype: DType;
  activation: Activation | null;
  /** Is the residual added before the activation? */
  early: boolean;
  /** Columns of a head, where y is laid out by head. */
  heads: number | null;
  /** Does a gradient go through it? Then x is not rounded to 8 bits, and w is read in a layout that dX reads too. */
  exact?: true;
}

export interface MatmulNnInputs {
  x: Tensor;
  w: Tensor;
}
