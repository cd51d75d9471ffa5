/** The second stage of sums over groups of rows: what the parts of each group come to. Kernels: kernels/reduce/. */
import { sumGroups as kernel } from "#kernels";
import type { Dispatch, Target } from "../../graph/op.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { dispatch, foldGrid } from "../../plan/dispatch.ts";

/**
 * One dispatch: y [G, C] f32, the sums of the rows of x [S, C] f32 by groups that begin at `first` [G + 1], which ends in S.
 * C: a multiple of 4; both lie within a binding.
 */
export function sumGroups(x: Tensor, first: Uint32Array, y: Tensor, { caps, constant }: Target): Dispatch {
  const groups = first.length - 1;
  const c4 = y.size / groups / 4;
  const longest = first.subarray(1).reduce((most, end, g) => Math.max(most, end - first[g]!), 0);
  // As many lanes for a column's rows as have 4 each; few rows need no barrier.
  const rows = [16, 4].find((lanes) => longest >= 4 * lanes) ?? 1;
  return dispatch({
    kernel,
    params: { c4, groups },
    consts: { ROWS: rows },
    bindings: { x, first: constant("first", first, [first.length]), y },
    grid: foldGrid(groups * Math.ceil(c4 / (64 / rows)), caps),
  });
}
