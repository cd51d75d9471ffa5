/** join_frames: tensors one after another along their second axis, such as the frames of a video. Kernels: kernels/resample/. */
import { copyVectors as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Dispatch, Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { cut, window, windowFits, wrap } from "../plan/windows.ts";

/** What is joined, by its place: 0, 1, … */
type Parts = { readonly [place: string]: Tensor | undefined };

/** Parts [B, Tᵢ, …] of one type → [B, ΣTᵢ, …]; what follows their second axis has a multiple of 4 values. One part alone is itself. */
export function joinFrames(parts: readonly Tensor[]): Tensor {
  const [first] = parts;
  if (!first) throw new CogwheelError("join_frames", "parts to join must be given, got none; pass at least one");
  return parts.length === 1 ? first : first.graph.record(joinFramesOp, Object.fromEntries(parts.entries()) as Parts, {}).y;
}

/** In the order of their places. */
const listed = (parts: Parts): Tensor[] => Object.keys(parts).map((_, place) => parts[place]!);

export const joinFramesOp: Op<Parts, object, "y"> = {
  name: "join_frames",
  infer(inputs) {
    const parts = listed(inputs);
    const [first] = parts as [Tensor];
    const rest = (t: Tensor): string => [t.dtype, t.dim(0), ...t.shape.slice(2)].join();
    const plane = first.size / first.dim(0) / first.dim(1);
    if (first.shape.length < 3 || plane % 4 || parts.some((t) => rest(t) !== rest(first)))
      throw new CogwheelError(
        "join_frames",
        "parts must be [B, T, …] of one type, alike but for T, with a multiple of 4 values a frame, " +
          `got ${parts.join(" and ")}; convert or pad them`,
      );
    return {
      y: { shape: [first.dim(0), parts.reduce((n, t) => n + t.dim(1), 0), ...first.shape.slice(2)], dtype: first.dtype },
    };
  },
  cost: ({ outputs: { y } }) => ({ flops: 0, bytes: 2 * y.bytes }),
  lower({ inputs, outputs: { y } }, { caps }) {
    const [batches, frames] = y.shape as [number, number];
    const plane = y.size / batches / frames / 4;
    const PER = caps.kind === "software" ? 16 : 1;
    const out: Dispatch[] = [];
    let at = 0;
    for (const x of listed(inputs)) {
      const run = x.dim(1) * plane;
      for (let b = 0; b < batches; b++) {
        const [from, to] = [b * run, (b * frames + at) * plane];
        const parts = cut(run, (start, n) => windowFits(x, from + start, n, caps) && windowFits(y, to + start, n, caps))!;
        for (const { start, count } of parts) {
          const [read, written] = [window(x, from + start, count, caps), window(y, to + start, count, caps)];
          out.push(
            dispatch({
              kernel,
              bindings: { x: read.view, y: written.view },
              params: { count, x_base: wrap(read.base + from + start), y_base: wrap(written.base + to + start) },
              types: { X: x.dtype },
              overrides: { PER },
              grid: foldGrid(Math.ceil(count / (kernel.overrides.WG * PER)), caps),
            }),
          );
        }
      }
      at += x.dim(1);
    }
    return out;
  },
};
