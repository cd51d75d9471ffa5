/** add_noise: clean latents brought to the noise level of their clip's timestep. Kernels: kernels/training/. */
import { addNoise as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import { assertRows } from "../graph/row-index.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";

/** What `addNoise` reads. */
export interface NoiseArguments {
  /** Clean latents, f32. Rows [R, C] of whatever makes them up: each belongs to one clip. */
  x: Tensor;
  /** Of the shape of x. */
  noise: Tensor;
  /** [R] u32: the clip of each row. */
  rows: Tensor;
  /** [clips, 4] f32: √ᾱ and √(1 − ᾱ) of the clip's timestep, then what `velocityLoss` reads. */
  table: Tensor;
}

/** → √ᾱ · x + √(1 − ᾱ) · noise, of the shape of x, f32. */
export function addNoise({ x, noise, rows, table }: NoiseArguments): Tensor {
  return x.graph.record(addNoiseOp, { x, noise, rows, table }, {}).y;
}

/** Refuses clean latents, noise, rows and a table that do not belong to each other. */
export function assertNoise(op: string, { x, noise, rows, table }: NoiseArguments): void {
  if (x.dtype !== "f32" || noise.dtype !== "f32" || x.shape.join() !== noise.shape.join())
    throw new CogwheelError(op, `latents and noise must be f32 of one shape, got ${x} and ${noise}; reshape or convert them`);
  if (rows.dtype !== "u32" || x.size % rows.size)
    throw new CogwheelError(op, `rows must be u32, one for each row of the latents, got ${rows} for ${x}; give rows of one width`);
  if (table.dtype !== "f32" || table.shape.length !== 2 || table.dim(1) !== 4)
    throw new CogwheelError(op, `the table must be f32 [clips, 4], got ${table}; give four coefficients a clip`);
  assertRows(op, "the table", rows, table.dim(0));
}

export const addNoiseOp: Op<{ [K in keyof NoiseArguments]: Tensor }, object, "y"> = {
  name: "add_noise",
  infer(of) {
    assertNoise("add_noise", of);
    return { y: { shape: of.x.shape, dtype: "f32" } };
  },
  cost: ({ outputs: { y } }) => ({ flops: 3 * y.size, bytes: 3 * y.bytes }),
  lower({ inputs: { x, noise, rows, table }, outputs: { y } }, { caps }) {
    const width = x.size / rows.size;
    return rowWindows(caps, rows.size, [4 * width]).map((part) => {
      const count = part.count * width;
      const of = (tensor: Tensor) => rowView(tensor, part, width);
      return dispatch({
        kernel,
        params: { count, width, first: part.start },
        bindings: { x: of(x), noise: of(noise), rows, table, y: of(y) },
        grid: foldGrid(Math.ceil(count / 64), caps),
      });
    });
  },
};
