/** What pooling ops share: pictures [B, T, H, W, C] row by row, and windows over the rows that a part of a result reads. */
import { CogwheelError } from "../../base/errors.ts";
import type { Capabilities } from "../../gpu/capabilities.ts";
import type { Kernel } from "../../gpu/kernel.ts";
import { isFloat } from "../../graph/dtype.ts";
import type { Dispatch } from "../../graph/op.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { dispatch, foldGrid } from "../../plan/dispatch.ts";
import { cut, window, windowFits, wrap, type Window } from "../../plan/windows.ts";

/** Refuses what are no pictures. */
export function assertPictures(op: string, x: Tensor): void {
  if (x.shape.length !== 5 || x.dim(-1) % 4 || !isFloat(x))
    throw new CogwheelError(op, `x must be f32 or f16 [B, T, H, W, C] with C padded to a multiple of 4, got ${x}; pad the channels`);
}

/** A tensor of pictures, and which of its rows lie under a row of the result: the first and the last, neither ever before a row's above. */
export interface Reads {
  readonly tensor: Tensor;
  readonly under: (row: number) => readonly [first: number, last: number];
}

/** Rows of the result that are computed at once, of all pictures together, with windows over what they write and read. */
export interface PicturePart {
  readonly start: number;
  readonly count: number;
  readonly written: Window;
  readonly read: readonly Window[];
}

/** Cuts a result into rows whose windows may be bound. */
export function pictureParts(op: string, y: Tensor, reads: readonly Reads[], caps: Capabilities): PicturePart[] {
  const rows = y.dim(2);
  const vectors = (tensor: Tensor) => (tensor.dim(3) * tensor.dim(4)) / 4;
  const range = ({ tensor, under }: Reads, start: number, count: number) => {
    const height = tensor.dim(2);
    const end = start + count - 1;
    const first = Math.floor(start / rows) * height + under(start % rows)[0];
    const last = Math.floor(end / rows) * height + under(end % rows)[1];
    return { first: first * vectors(tensor), count: (last - first + 1) * vectors(tensor) };
  };
  const own = (start: number, count: number) => ({ first: start * vectors(y), count: count * vectors(y) });
  const fits = (start: number, n: number) =>
    windowFits(y, own(start, n).first, own(start, n).count, caps) &&
    reads.every((each) => windowFits(each.tensor, range(each, start, n).first, range(each, start, n).count, caps));
  const parts = cut(y.dim(0) * y.dim(1) * rows, fits);
  if (!parts)
    throw new CogwheelError(
      op,
      `the rows under one of the result's must fit a binding of ${caps.maxBindingBytes} bytes, got ${reads[0]!.tensor}; ` +
        "choose a narrower picture",
    );
  return parts.map(({ start, count }) => ({
    start,
    count,
    written: window(y, own(start, count).first, own(start, count).count, caps),
    read: reads.map((each) => {
      const { first, count: n } = range(each, start, count);
      return window(each.tensor, first, n, caps);
    }),
  }));
}

/** What kernels declare that read pictures x under windows and write smaller ones y, a vector a lane. */
interface PoolShape<Consts extends string> {
  bindings: "x" | "y";
  params: "count" | "first" | "c4" | "h_in" | "w_in" | "h_out" | "w_out" | "x_base" | "y_base";
  consts: Consts;
  types: "X";
  overrides: "WG";
}

/** Dispatches of such a kernel. */
export function poolDispatches<Consts extends string>(
  kernel: Kernel<PoolShape<Consts>>,
  x: Tensor,
  y: Tensor,
  under: Reads["under"],
  caps: Capabilities,
  consts: { readonly [K in Consts]?: number } = {},
): Dispatch[] {
  const [c4, wide] = [x.dim(-1) / 4, y.dim(3)];
  return pictureParts(kernel.name, y, [{ tensor: x, under }], caps).map((part) => {
    const count = part.count * wide * c4;
    return dispatch({
      kernel,
      bindings: { x: part.read[0]!.view, y: part.written.view },
      params: {
        count,
        first: part.start * wide * c4,
        c4,
        h_in: x.dim(2),
        w_in: x.dim(3),
        h_out: y.dim(2),
        w_out: wide,
        x_base: wrap(part.read[0]!.base),
        y_base: wrap(part.written.base),
      },
      types: { X: x.dtype },
      consts,
      grid: foldGrid(Math.ceil(count / kernel.overrides.WG), caps),
    });
  });
}
