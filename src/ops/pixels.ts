/** pixels: what the decoder gives, −1…1, as frames in 0…1 or as RGBA bytes for a video encoder or a canvas. Kernels: kernels/layout/. */
import { pixels as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Graph } from "../graph/graph.ts";
import type { Node, Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, gcd } from "../plan/dispatch.ts";
import { window, wrap } from "../plan/windows.ts";

interface PixelAttrs {
  /** `frames`: [B, T, H, W, 3] f32, clamp(x / 2 + 0.5). `rgba`: [B, T, H, W] u32, red in the lowest byte, alpha 255. */
  format: "frames" | "rgba";
}

/** x [B, T, H, W, C padded], its first three channels red, green and blue in −1…1. */
export function pixels(x: Tensor, attrs: PixelAttrs): Tensor {
  return x.graph.record(pixelsOp, { x }, attrs).y;
}

/** Does a node compute what becomes pixels? There clamping hides a NaN or an infinity, so it is looked for before. */
export const becomesPixels = ({ outputs }: Node, { nodes }: Graph): boolean =>
  Object.values(outputs).some((made) => nodes.some(({ op, inputs }) => op === pixelsOp && (inputs as { x: Tensor }).x.root === made.root));

export const pixelsOp: Op<{ x: Tensor }, PixelAttrs, "y"> = {
  name: "pixels",
  infer({ x }, { format }) {
    if (x.shape.length !== 5 || x.dim(-1) % 4)
      throw new CogwheelError("pixels", `x must be [B, T, H, W, C] with C padded to a multiple of 4, got [${x.shape.join(", ")}]`);
    const picture = x.shape.slice(0, -1);
    return { y: format === "rgba" ? { shape: picture, dtype: "u32" } : { shape: [...picture, 3], dtype: "f32" } };
  },
  cost({ inputs: { x }, outputs: { y } }) {
    return { flops: 0, bytes: x.bytes + y.bytes };
  },
  reach: ({ attrs }, out) => ({ inputs: { x: out }, attrs }),
  lower({ inputs: { x }, attrs: { format }, outputs: { y } }, { caps }) {
    const count = x.size / x.dim(-1);
    const c4 = x.dim(-1) / 4;
    const values = format === "rgba" ? 1 : 3;
    // Windows of y start at whole pixels and aligned bytes.
    const unit = caps.offsetAlignment / gcd(caps.offsetAlignment, 4 * values);
    const bytesOfX = x.bytes / count;
    const most = Math.max(unit, Math.floor((caps.maxBindingBytes - caps.offsetAlignment) / Math.max(4 * values, bytesOfX) / unit) * unit);
    const parts =
      Math.max(x.bytes, y.bytes) <= caps.maxBindingBytes ? [0] : Array.from({ length: Math.ceil(count / most) }, (_, i) => i * most);
    return parts.map((first) => {
      const n = parts.length === 1 ? count : Math.min(most, count - first);
      const read = window(x, first * c4, n * c4, caps);
      const whole = y.bytes <= caps.maxBindingBytes;
      return dispatch({
        kernel,
        bindings: { x: read.view, y: whole ? y : { tensor: y, offset: first * values * 4, bytes: n * values * 4 } },
        params: { count: n, first, c4, x_base: wrap(read.base), y_base: whole ? 0 : wrap(-first * values) },
        types: { X: x.dtype, Y: format === "rgba" ? "u32" : "f32" },
        consts: { RGBA: +(format === "rgba") },
        grid: foldGrid(Math.ceil(n / kernel.overrides.WG), caps),
      });
    });
  },
};
