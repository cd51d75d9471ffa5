/** Segments that are known when a graph runs: clips that each attend to themselves, whose lists of tiles are made on the device. */
import { clipTiles } from "#kernels";
import { CogwheelError } from "../../base/errors.ts";
import type { Dispatch, Target } from "../../graph/op.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { dispatch, foldGrid, type RowWindow } from "../../plan/dispatch.ts";

/** Refuses a list of clips that is none, and operands that it cannot be of. */
export function assertClips(op: string, clips: Tensor, queries: number, keys: number): void {
  if (clips.dtype !== "u32" || clips.shape.length !== 2 || clips.dim(1) !== 2)
    throw new CogwheelError(op, `clips must be u32 [S, 2], a first row and rows each, got ${clips}; reshape or convert them`);
  if (queries !== keys)
    throw new CogwheelError(op, `clips attend to themselves, so queries and keys are as many, got ${queries} and ${keys}; name segments`);
}

export interface TileList {
  readonly tiles: Tensor;
  /** Tiles that it has room for; those that are not needed have no rows. */
  readonly count: number;
}

/**
 * A list of tiles of at most `height` rows of one clip within a window, and the dispatch that makes it.
 * @param runs as a gradient by keys reads it: with the runs of queries behind it
 */
export function clipTileList(
  clips: Tensor,
  height: number,
  { start, count }: RowWindow,
  { caps, scratch }: Pick<Target, "caps" | "scratch">,
  runs = false,
): TileList & { readonly dispatch: Dispatch } {
  const many = clips.dim(0);
  const slots = Math.floor(count / height) + many;
  const words = slots + (runs ? many : 0);
  const tiles = scratch([words, 4], "u32");
  return {
    tiles,
    count: slots,
    dispatch: dispatch({
      kernel: clipTiles,
      consts: { RUNS: +runs },
      params: { clips: many, slots, height, start, count },
      bindings: { clips, tiles },
      grid: foldGrid(Math.ceil(words / 64), caps),
      cost: { flops: 0, bytes: clips.bytes + 16 * words },
    }),
  };
}
