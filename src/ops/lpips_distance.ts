/**
 * lpips_distance: how far two pictures' features are apart in one layer of LPIPS. Features are divided by their norm over channels, and a
 * linear head weighs the squared differences. Kernels: kernels/loss/.
 */
import { lpipsDistance as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import { isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import { padTo } from "../graph/packing.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { cut, window, windowFits, wrap } from "../plan/windows.ts";
import { sumParts } from "./reduce/parts.ts";

export interface LpipsDistanceInputs {
  a: Tensor;
  b: Tensor;
  w: Tensor;
  before: Tensor | undefined;
}

/** Chunks of a picture at most, and positions of one at least. */
const MOST_CHUNKS = 64;
const LEAST_POSITIONS = 256;

/**
 * a and b [B, T, H, W, C] of one type, w f32 [1, C, 1, 1] → `y` f32 [B · T]: of every picture the mean over positions of
 * Σ w (a / (‖a‖ + 1e-10) − b / (‖b‖ + 1e-10))².
 * @param before f32 [B · T], what other layers came to, which is added
 */
export function lpipsDistance(a: Tensor, b: Tensor, w: Tensor, before?: Tensor): Tensor {
  return a.graph.record(lpipsDistanceOp, { a, b, w, before }, {}).y;
}

/** Lanes that share a position: some on GPUs, for neighbours to read neighbours. */
export const lanesOf = ({ kind }: Capabilities, c4: number): number => (kind === "software" ? 1 : c4 >= 16 ? 16 : c4 >= 4 ? 4 : 1);

export const lpipsDistanceOp: Op<LpipsDistanceInputs, object, "y" | "inverse"> = {
  name: "lpips_distance",
  infer({ a, b, w, before }) {
    if (a.shape.length !== 5 || !isFloat(a) || a.shape.join() !== b.shape.join() || a.dtype !== b.dtype)
      throw new CogwheelError("lpips_distance", `a and b must be f32 or f16 [B, T, H, W, C] of one shape and type, got ${a} and ${b}`);
    if (w.dtype !== "f32" || padTo(w.size, 4) !== a.dim(-1))
      throw new CogwheelError(
        "lpips_distance",
        `the head must have an f32 value for each of ${a.dim(-1)} channels, got ${w}; check the weight's name`,
      );
    const pictures = a.dim(0) * a.dim(1);
    if (before && (before.dtype !== "f32" || before.size !== pictures))
      throw new CogwheelError("lpips_distance", `what is added to must be f32 [${pictures}], got ${before}; give another layer's distance`);
    return { y: { shape: [pictures], dtype: "f32" }, inverse: { shape: [pictures, a.dim(2) * a.dim(3), 2], dtype: "f32" } };
  },
  cost: ({ inputs: { a, b }, outputs: { inverse } }) => ({ flops: 9 * a.size, bytes: a.bytes + b.bytes + inverse.bytes }),
  lower({ inputs: { a, b, w, before }, outputs: { y, inverse } }, target) {
    const { caps } = target;
    const [pictures, positions, c4] = [y.size, a.dim(2) * a.dim(3), a.dim(-1) / 4];
    const chunk = Math.max(LEAST_POSITIONS, padTo(Math.ceil(positions / MOST_CHUNKS), 64));
    const perPicture = Math.ceil(positions / chunk);
    const startOf = (i: number) => (Math.floor(i / perPicture) * positions + Math.min((i % perPicture) * chunk, positions)) * c4;
    const range = (start: number, n: number) => ({ first: startOf(start), count: startOf(start + n) - startOf(start) });
    const parts = cut(pictures * perPicture, (start, n) => windowFits(a, range(start, n).first, range(start, n).count, caps));
    if (!parts)
      throw new CogwheelError(
        "lpips_distance",
        `${chunk} positions of a [${a.shape.join(", ")}] must fit a binding of ${caps.maxBindingBytes} bytes; choose a smaller size`,
      );
    const sums = target.scratch([perPicture, pictures], "f32");
    return [
      ...parts.map(({ start, count }) => {
        const { first, count: vectors } = range(start, count);
        const [fromA, fromB] = [window(a, first, vectors, caps), window(b, first, vectors, caps)];
        return dispatch({
          kernel,
          types: { A: a.dtype },
          consts: { LANES: lanesOf(caps, c4), BEFORE: +!!before },
          params: {
            count,
            first: start,
            chunk,
            per_picture: perPicture,
            positions,
            pictures,
            c4,
            a_base: wrap(fromA.base),
            b_base: wrap(fromB.base),
            share: 1 / positions,
          },
          bindings: {
            a: fromA.view,
            b: fromB.view,
            w: { tensor: w, packing: "vector" },
            before: before ?? { tensor: w, packing: "vector" },
            inverse,
            part: sums,
          },
          grid: foldGrid(count, caps),
        });
      }),
      ...sumParts(caps, sums, y, { columns: pictures, stride: pictures }),
    ];
  },
};
