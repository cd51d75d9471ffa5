/**
 * channels_last, channels_first: between the reference's layout [B, C, T, H, W] and the engine's [B, T, H, W, C padded to 4].
 * Kernels: kernels/layout/.
 */
import { channelsFirst as firstKernel, channelsLast as lastKernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { type DType, elements } from "../graph/dtype.ts";
import type { Op, Target } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { padTo } from "../graph/packing.ts";
import { cut, window, windowFits, wrap } from "../plan/windows.ts";

/** [B, C, …] f32 → [B, …, C padded with zeros to a multiple of 4] */
export function channelsLast(x: Tensor, options: { dtype?: DType } = {}): Tensor {
  return x.graph.record(channelsLastOp, { x }, { dtype: options.dtype ?? "f32" }).y;
}

/** [B, …, C padded] → [B, channels, …] f32 */
export function channelsFirst(x: Tensor, channels: number): Tensor {
  return x.graph.record(channelsFirstOp, { x }, { channels }).y;
}

export const channelsLastOp: Op<{ x: Tensor }, { dtype: DType }, "y"> = {
  name: "channels_last",
  infer({ x }, { dtype }) {
    if (x.shape.length < 3 || x.dtype !== "f32")
      throw new CogwheelError("channels_last", `x must be f32 [B, C, …], got ${x.dtype} [${x.shape.join(", ")}]`);
    return { y: { shape: [x.dim(0), ...x.shape.slice(2), padTo(x.dim(1), 4)], dtype } };
  },
  cost({ inputs: { x }, outputs: { y } }) {
    return { flops: 0, bytes: x.bytes + y.bytes };
  },
  reach: ({ attrs }, out) => ({ inputs: { x: out }, attrs }),
  lower({ inputs: { x }, outputs: { y } }, target) {
    return parts(y, x.dim(1), target).map(({ written, params, z }) =>
      dispatch({
        kernel: lastKernel,
        bindings: { x, y: written.view },
        params: { ...params, x_base: 0, y_base: wrap(written.base) },
        types: { Y: y.dtype },
        grid: foldGrid(Math.ceil(params.count / lastKernel.overrides.WG), target.caps, z),
      }),
    );
  },
};

export const channelsFirstOp: Op<{ x: Tensor }, { channels: number }, "y"> = {
  name: "channels_first",
  infer({ x }, { channels }) {
    if (x.shape.length < 3 || x.dim(-1) !== padTo(channels, 4))
      throw new CogwheelError(
        "channels_first",
        `x must be [B, …, ${padTo(channels, 4)}] for ${channels} channels, got [${x.shape.join(", ")}]`,
      );
    return { y: { shape: [x.dim(0), channels, ...x.shape.slice(1, -1)], dtype: "f32" } };
  },
  cost({ inputs: { x }, outputs: { y } }) {
    return { flops: 0, bytes: x.bytes + y.bytes };
  },
  reach: ({ attrs }, out) => ({ inputs: { x: out }, attrs }),
  lower({ inputs: { x }, attrs: { channels }, outputs: { y } }, target) {
    return parts(x, channels, target).map(({ written: read, params, z }) =>
      dispatch({
        kernel: firstKernel,
        bindings: { x: read.view, y },
        params: { ...params, x_base: wrap(read.base), y_base: 0 },
        types: { X: x.dtype },
        grid: foldGrid(Math.ceil(params.count / firstKernel.overrides.WG), target.caps, z),
      }),
    );
  },
};

/** Windows over the positions of the channels-last tensor; the other one is bound whole. */
function parts(padded: Tensor, channels: number, { caps }: Target) {
  const positions = elements(padded.shape.slice(1, -1));
  const c4 = padded.dim(-1) / 4;
  // Several batch entries lie a whole entry apart, so their windows would have to hold all: whole tensors then.
  const spans =
    padded.dim(0) > 1 ? [{ start: 0, count: positions }] : cut(positions, (start, n) => windowFits(padded, start * c4, n * c4, caps))!;
  return spans.map(({ start, count }) => ({
    written: padded.dim(0) > 1 ? { view: { tensor: padded }, base: 0 } : window(padded, start * c4, count * c4, caps),
    params: { count, first: start, positions, channels },
    z: padded.dim(0) * c4,
  }));
}
