/** join_tokens: text and video tokens into one sequence per sample, text first, with positions added. Kernels: kernels/embed/. */
import { joinTokens as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf } from "../graph/dtype.ts";
import type { Dispatch, Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowWindows } from "../plan/dispatch.ts";

interface Inputs {
  text: Tensor;
  video: Tensor;
  position: Tensor | undefined;
}

/** text [B, T, D], video [B, V, D] and optionally position [T + V, D] f32 → [B, T + V, D] f32 */
export function joinTokens(text: Tensor, video: Tensor, position?: Tensor): Tensor {
  return text.graph.record(joinTokensOp, { text, video, position }, {}).y;
}

export const joinTokensOp: Op<Inputs, object, "y"> = {
  name: "join_tokens",
  infer({ text, video, position }) {
    const [b, t, d] = text.shape as [number, number, number];
    const [vb, v, vd] = video.shape as [number, number, number];
    if (b !== vb || d !== vd || d % 4)
      throw new CogwheelError(
        "join_tokens",
        `text and video must be [B, T, D] and [B, V, D] with D a multiple of 4, got ${text} and ${video}`,
      );
    if (position && (position.size !== (t + v) * d || position.dtype !== "f32"))
      throw new CogwheelError("join_tokens", `positions must be f32 [${t + v}, ${d}], got ${position}`);
    return { y: { shape: [b, t + v, d], dtype: "f32" } };
  },
  cost: ({ outputs: { y } }) => ({ flops: y.size, bytes: 2 * y.bytes }),
  lower({ inputs: { text, video, position }, outputs: { y } }, { caps }) {
    const [b, s, d] = y.shape as [number, number, number];
    const t = text.dim(1);
    const out: Dispatch[] = [];
    for (let sample = 0; sample < b; sample++) {
      for (const [x, first, count] of [
        [text, 0, t],
        [video, t, s - t],
      ] as const) {
        // Whole tensors with row offsets where they fit a binding; windows of rows, which must then be aligned, where not.
        const fits = Math.max(y.bytes, x.bytes, position?.bytes ?? 0) <= caps.maxBindingBytes;
        const windows = fits ? [{ start: 0, count }] : rowWindows(caps, count, [d * 4, d * bytesOf[x.dtype]]);
        for (const w of windows) {
          const [from, to, at] = [sample * count + w.start, sample * s + first + w.start, first + w.start];
          const part = (tensor: Tensor, row: number) =>
            fits ? { tensor } : { tensor, offset: row * d * bytesOf[tensor.dtype], bytes: w.count * d * bytesOf[tensor.dtype] };
          out.push(
            dispatch({
              kernel,
              types: { X: x.dtype, Y: y.dtype },
              consts: { POSITION: +!!position },
              params: { rows: w.count, d4: d / 4, from_row: fits ? from : 0, to_row: fits ? to : 0, position_row: fits ? at : 0 },
              bindings: { x: part(x, from), position: position ? part(position, at) : part(x, from), y: part(y, to) },
              grid: foldGrid(Math.ceil((w.count * d) / 256), caps),
            }),
          );
        }
      }
    }
    return out;
  },
};
