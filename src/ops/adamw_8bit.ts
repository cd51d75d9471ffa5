/** adamw_8bit: one step of AdamW on a parameter, whose means take two bytes a value. Kernels: kernels/training/. */
import { adamw8bit as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";
import { assertControl } from "./gradient_norm.ts";

interface Inputs {
  p: Tensor;
  state: Tensor;
  g: Tensor;
  control: Tensor;
}

/** Values that share a scale. */
const BLOCK = 256;
/** Of a block in the state: an index of a byte for each value of both means, and two scales. */
const WORDS = 130;

/** Shape of the state of a parameter of so many values: both means, u32. Zeros are means of zero. */
export const adamw8bitState = (values: number): [blocks: number, words: number] => [Math.ceil(values / BLOCK), WORDS];

/**
 * The 256 numbers that an index stands for, rising: 0, 1, and in each of seven decades twice as many as in the one below, at the middles of
 * even parts. Signed, half of them are negative. From bitsandbytes' create_dynamic_map; Dettmers et al. 2021, arXiv:2110.02861.
 */
export function dynamicMap(signed: boolean): Float32Array<ArrayBuffer> {
  const numbers = [0, 1];
  for (let decade = 0; decade < 7; decade++) {
    const parts = 2 ** (signed ? decade : decade + 1);
    for (let i = 0; i < parts; i++) {
      const middle = (0.1 + (0.9 * (i + 0.5)) / parts) * 10 ** (decade - 6);
      numbers.push(middle);
      if (signed) numbers.push(-middle);
    }
  }
  return Float32Array.from(numbers).sort();
}

/**
 * p and g f32 of one shape, state u32 as {@link adamw8bitState} says → the next p and state, or what they were
 * where the step is not taken. In their place, where they are states that get these values.
 */
export function adamw8bit({ p, state, g, control }: Inputs): { p: Tensor; state: Tensor } {
  return p.graph.record(adamw8bitOp, { p, state, g, control }, {});
}

export const adamw8bitOp: Op<Inputs, object, "p" | "state"> = {
  name: "adamw_8bit",
  infer({ p, state, g, control }) {
    if (p.dtype !== "f32" || g.dtype !== "f32" || p.shape.join() !== g.shape.join())
      throw new CogwheelError("adamw_8bit", `p and g must be f32 of one shape, got ${p} and ${g}; reshape them`);
    const shape = adamw8bitState(p.size);
    if (state.dtype !== "u32" || state.shape.join() !== shape.join())
      throw new CogwheelError("adamw_8bit", `the state of ${p} must be u32 [${shape.join(", ")}], got ${state}; make it of that shape`);
    assertControl("adamw_8bit", control);
    return { p: { shape: p.shape, dtype: "f32" }, state: { shape, dtype: "u32" } };
  },
  mayTake: () => ({ p: "p", state: "state" }),
  cost: ({ outputs: { p, state } }) => ({ flops: 60 * p.size, bytes: 3 * p.bytes + 2 * state.bytes }),
  lower({ inputs: { p, state, g, control }, outputs: next }, { caps, inPlace, constant }) {
    const map = constant("maps", Float32Array.of(...dynamicMap(true), ...dynamicMap(false)), [2 * BLOCK]);
    // The last block may have fewer values than the others.
    const blocks = state.dim(0);
    return rowWindows(caps, blocks, [4 * BLOCK, 4 * WORDS]).map((rows) => {
      const count = Math.min(rows.count * BLOCK, p.size - rows.start * BLOCK);
      const values = (tensor: Tensor) => ({ tensor, offset: 4 * BLOCK * rows.start, bytes: 4 * count });
      return dispatch({
        kernel,
        consts: { IN_PLACE: +inPlace },
        params: { count },
        bindings: {
          p: values(inPlace ? g : p),
          state: inPlace ? values(g) : rowView(state, rows, WORDS),
          g: values(g),
          control,
          map,
          p_next: values(next.p),
          state_next: rowView(next.state, rows, WORDS),
        },
        grid: foldGrid(rows.count, caps),
      });
    });
  },
};
