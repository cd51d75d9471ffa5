/** Gradients of ops that compute each value from the values at its place. */
import type { RuleOf } from "../../graph/op.ts";
import type { addOp } from "../../ops/add.ts";
import { cast, type castOp } from "../../ops/cast.ts";
import { gatedAdd, type gatedAddOp } from "../../ops/gated_add.ts";
import { gatedAddGradient } from "../../ops/gated_add_gradient.ts";
import type { geluOp } from "../../ops/gelu.ts";
import { geluGradient } from "../../ops/gelu_gradient.ts";
import type { siluOp } from "../../ops/silu.ts";
import { siluGradient } from "../../ops/silu_gradient.ts";

export const addRule: RuleOf<typeof addOp> = { gradient: (_, { y }) => ({ a: y, b: y }) };

export const castRule: RuleOf<typeof castOp> = {
  gradient: ({ inputs: { x } }, { y }) => ({ x: y!.dtype === "f32" ? y : cast(y!, x.dtype) }),
};

export const gatedAddRule: RuleOf<typeof gatedAddOp> = {
  gradient({ inputs: { x, table, rows } }, { y: dy }, want) {
    return {
      ...(want.has("x") ? { x: gatedAdd(dy!, { table, rows }, { dtype: x.dtype }) } : {}),
      ...(want.has("table") ? { table: gatedAddGradient(x, dy!, rows, table.shape) } : {}),
      ...(want.has("residual") ? { residual: dy } : {}),
    };
  },
};

export const geluRule: RuleOf<typeof geluOp> = { gradient: ({ inputs: { x } }, { y }) => ({ x: geluGradient(x, y!) }) };

export const siluRule: RuleOf<typeof siluOp> = { gradient: ({ inputs: { x } }, { y }) => ({ x: siluGradient(x, y!) }) };
