/** lpips_distance_head: the gradient of lpips_distance with respect to its linear head. Kernels: kernels/loss/. */
import { lpipsDistanceHead as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import type { LpipsDistanceGradientInputs } from "./lpips_distance_gradient.ts";
import { chunksOf, chunkView, sumParts } from "./reduce/parts.ts";

/** Workgroups of the first stage at least, and positions of a chunk. */
const ENOUGH = 512;
const POSITIONS = 64;

/** The gradient with respect to w, in its shape, f32. */
export function lpipsDistanceHead({ a, b, w, dy, inverse }: LpipsDistanceGradientInputs): Tensor {
  return a.graph.record(lpipsDistanceHeadOp, { a, b, dy, inverse }, { shape: w.shape }).dw;
}

export const lpipsDistanceHeadOp: Op<Omit<LpipsDistanceGradientInputs, "w">, { shape: readonly number[] }, "dw"> = {
  name: "lpips_distance_head",
  infer({ a, dy, inverse }, { shape }) {
    if (dy.dtype !== "f32" || inverse.shape.join() !== [dy.size, a.dim(2) * a.dim(3), 2].join())
      throw new CogwheelError(
        "lpips_distance_head",
        `dy must be f32 with a value for each picture, and inverse what lpips_distance gave, got ${dy} and ${inverse}`,
      );
    return { dw: { shape, dtype: "f32" } };
  },
  cost: ({ inputs: { a }, outputs: { dw } }) => ({ flops: 5 * a.size, bytes: 2 * a.bytes + dw.bytes }),
  lower({ inputs: { a, b, dy, inverse }, outputs: { dw } }, target) {
    const { caps } = target;
    const [c, positions] = [a.dim(-1), a.dim(2) * a.dim(3)];
    const rows = dy.size * positions;
    const across = Math.ceil(c / 4 / kernel.overrides.WG);
    const chunks = chunksOf(
      caps,
      rows,
      Math.min(Math.ceil(ENOUGH / across), Math.ceil(rows / POSITIONS)),
      [c * bytesOf[a.dtype], 8],
      c * 4,
    );
    const sums = target.scratch([chunks.count, c], "f32");
    return [
      ...chunks.windows.map((window) => {
        const groups = window.chunks * across;
        return dispatch({
          kernel,
          types: { A: a.dtype },
          params: {
            m: window.rows,
            first: window.start,
            positions,
            c4: c / 4,
            chunk: chunks.rows,
            groups,
            part: window.first,
            share: 1 / positions,
          },
          bindings: { a: chunkView(a, window, c), b: chunkView(b, window, c), dy, inverse: chunkView(inverse, window, 2), sums },
          grid: foldGrid(groups, caps),
        });
      }),
      ...sumParts(caps, sums, dw, { columns: dw.size, stride: c }),
    ];
  },
};
