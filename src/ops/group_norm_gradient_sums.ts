/**
 * group_norm_gradient_sums: Σ dn and Σ dn · x̂ of every channel, slice by slice, with dn the gradient of (x − mean) · rstd · weight + bias;
 * of a spatial norm the gradients of its scale and shift too. No slice holds positions of two frames (of a spatial norm: of two of scale
 * and shift), so whoever holds a frame makes the same sums of it. Kernels: kernels/norm/.
 */
import { groupNormGradientCells as cellsKernel, groupNormGradientSums as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import { isFloat } from "../graph/dtype.ts";
import type { Dispatch, Node, Op, Target } from "../graph/op.ts";
import type { Tensor, TensorSpec } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { cut, window, windowFits, wrap } from "../plan/windows.ts";
import { type ApplyAttrs, frameOf, spatialSteps } from "./group_norm_apply.ts";
import { slicePositions } from "./group_norm_stats.ts";

export interface GroupNormGradientInputs {
  x: Tensor;
  dy: Tensor;
  /** Of {@link groupNormMerge}; for group_norm_gradient what {@link groupNormGradientMerge} makes of it. */
  norm: Tensor;
  weight: Tensor;
  bias: Tensor;
  scale: Tensor | undefined;
  shift: Tensor | undefined;
}
export type GroupNormGradientAttrs = Pick<ApplyAttrs, "onePlus" | "keepFirst" | "activation">;
type Results = "sums" | "dscale" | "dshift";

/** Cells of a slice: each has the sums of many positions already. */
const CELLS = 16;

/**
 * x and dy [B, T, H, W, C], f32 or f16, the other operands as in group_norm_apply → `sums` [B, slices, 3, C] f32: count, Σ dn, Σ dn · x̂;
 * with a spatial norm `dscale` and `dshift` in the shape of scale.
 */
export function groupNormGradientSums(
  inputs: GroupNormGradientInputs,
  { onePlus, keepFirst, activation }: GroupNormGradientAttrs,
): { sums: Tensor; dscale?: Tensor; dshift?: Tensor } {
  return inputs.x.graph.record(groupNormGradientSumsOp, inputs, { onePlus, keepFirst, activation });
}

/** Refuses operands that group_norm_apply would refuse, and a gradient of another shape. */
export function assertNormOperands(op: string, { x, dy, norm, scale, shift }: GroupNormGradientInputs, rows: number): void {
  if (x.shape.length !== 5 || x.shape.join() !== dy.shape.join() || !isFloat(x) || !isFloat(dy))
    throw new CogwheelError(op, `x and dy must be f32 or f16 of one shape [B, T, H, W, C], got ${x} and ${dy}; reshape or convert them`);
  if (norm.shape.join() !== [x.dim(0), rows, x.dim(-1)].join() || scale?.shape.join() !== shift?.shape.join())
    throw new CogwheelError(
      op,
      `norm must be [${[x.dim(0), rows, x.dim(-1)].join(", ")}] with scale and shift of one shape, ` +
        `got ${norm}, ${scale ?? "no scale"} and ${shift ?? "no shift"}; pass those of the norm`,
    );
}

export const groupNormGradientSumsOp: Op<GroupNormGradientInputs, GroupNormGradientAttrs, Results> = {
  name: "group_norm_gradient_sums",
  infer(inputs) {
    assertNormOperands("group_norm_gradient_sums", inputs, 2);
    const { x, scale } = inputs;
    const plane = x.dim(2) * x.dim(3);
    const slices = scale
      ? scale.dim(1) * Math.ceil((scale.dim(2) * scale.dim(3)) / CELLS)
      : x.dim(1) * Math.ceil(plane / slicePositions(plane));
    const of: TensorSpec | undefined = scale && { shape: scale.shape, dtype: "f32" };
    const sums: TensorSpec = { shape: [x.dim(0), slices, 3, x.dim(-1)], dtype: "f32" };
    return { sums, ...(of ? { dscale: of, dshift: of } : {}) } as Record<Results, TensorSpec>;
  },
  cost: ({ inputs: { x, dy, scale }, attrs: { activation } }) => ({
    flops: (5 + (activation ? 10 : 0)) * x.size,
    bytes: x.bytes + dy.bytes + 4 * (scale?.bytes ?? 0),
  }),
  lower(node, target) {
    const { x, scale } = node.inputs;
    const { sums } = node.outputs;
    if (!scale) return blockSums(node, target, sums);
    const [frames, [, , rows, columns]] = [x.dim(0) * x.dim(1), scale.shape as number[]];
    const cells = target.scratch([frames, rows!, columns!, 3, x.dim(-1)], "f32");
    return [...blockSums(node, target, cells), ...cellSums(node, target, cells)];
  },
};

type SumsNode = Node<GroupNormGradientInputs, GroupNormGradientAttrs, Results>;

/** Blocks of each frame's positions, into `to`: with a spatial norm its cells, else slices of a frame as one row. */
function blockSums({ inputs: { x, dy, norm, weight, bias, scale, shift }, attrs }: SumsNode, { caps }: Target, to: Tensor): Dispatch[] {
  const [batches, frames, height, width, c] = x.shape as [number, number, number, number, number];
  const [h, w] = scale ? [height, width] : [1, height * width];
  const [rows, columns] = scale ? [scale.dim(2), scale.dim(3)] : [1, Math.ceil(w / slicePositions(w))];
  const steps = spatialSteps(x, scale, attrs);
  const perRow = (3 * columns * c) / 4;
  /** Vectors of x under rows of blocks; a row of blocks may have no rows of x, or several. */
  const read = (start: number, n: number) => {
    const at = (row: number) => Math.floor(row / rows) * h + Math.min(h, Math.max(0, Math.ceil((row % rows) / steps.stepH)));
    // A row more at each end, for where they begin is computed in f32.
    const [first, last] = scale ? [Math.max(0, at(start) - 1), Math.min(batches * frames * h, at(start + n) + 1)] : [start, start + n];
    return { first: (first * w * c) / 4, count: ((last - first) * w * c) / 4 };
  };
  const fits = (start: number, n: number) =>
    [x, dy].every((tensor) => windowFits(tensor, read(start, n).first, read(start, n).count, caps)) &&
    windowFits(to, start * perRow, n * perRow, caps);
  const parts = cut(batches * frames * rows, fits) ?? tooWide(x, caps);
  return parts.map(({ start, count }) => {
    const needed = read(start, count);
    const [from, of, written] = [
      window(x, needed.first, needed.count, caps),
      window(dy, needed.first, needed.count, caps),
      window(to, start * perRow, count * perRow, caps),
    ];
    return dispatch({
      kernel,
      types: { X: x.dtype, G: dy.dtype },
      consts: {
        SILU: +(attrs.activation === "silu"),
        SPATIAL: +!!scale,
        ONE_PLUS: +attrs.onePlus,
        FIRST_APART: +steps.apart,
      },
      params: {
        rows: count,
        first: start,
        c4: c / 4,
        t: frames,
        h,
        w,
        tz: scale?.dim(1) ?? 1,
        hb: rows,
        wb: columns,
        run: slicePositions(w),
        step_t: steps.stepT,
        step_h: steps.stepH,
        step_w: steps.stepW,
        x_base: wrap(from.base),
        dy_base: wrap(of.base),
        sums_base: wrap(written.base),
      },
      bindings: {
        x: from.view,
        dy: of.view,
        norm,
        weight: { tensor: weight, packing: "vector" },
        bias: { tensor: bias, packing: "vector" },
        scale: scale ?? norm,
        shift: shift ?? norm,
        sums: written.view,
      },
      grid: foldGrid(Math.ceil((count * columns * c) / 4 / kernel.overrides.WG), caps),
    });
  });
}

/** A spatial norm's cells in every frame → what its scale and shift get, and the slices' sums. */
function cellSums({ inputs: { x, weight, bias, scale }, attrs, outputs }: SumsNode, target: Target, cells: Tensor): Dispatch[] {
  const { caps } = target;
  const [batches, latents, height, width, c] = scale!.shape as [number, number, number, number, number];
  const [frames, plane] = [x.dim(1), height * width];
  const perFrame = Math.ceil(plane / CELLS);
  const first = new Uint32Array(batches * latents + 1).fill(batches * frames);
  for (let frame = batches * frames - 1; frame >= 0; frame--) {
    const latent = Math.floor(frame / frames) * latents + frameOf(frame % frames, x, scale!, attrs);
    first.fill(frame, 0, latent + 1);
  }
  const vectors = (from: number, n: number) => ({
    first: (first[from]! * plane * 3 * c) / 4,
    count: ((first[from + n]! - first[from]!) * plane * 3 * c) / 4,
  });
  const parts =
    cut(batches * latents, (from, n) => windowFits(cells, vectors(from, n).first, vectors(from, n).count, caps)) ?? tooWide(x, caps);
  return parts.map(({ start, count }) => {
    const read = window(cells, vectors(start, count).first, vectors(start, count).count, caps);
    return dispatch({
      kernel: cellsKernel,
      consts: { ONE_PLUS: +attrs.onePlus },
      params: {
        slices: count * perFrame,
        begin: start * perFrame,
        per_frame: perFrame,
        plane,
        run: CELLS,
        c4: c / 4,
        cells_base: wrap(read.base),
      },
      bindings: {
        cells: read.view,
        weight: { tensor: weight, packing: "vector" },
        bias: { tensor: bias, packing: "vector" },
        scale: scale!,
        first: target.constant("first frames", first, [first.length]),
        dscale: outputs.dscale,
        dshift: outputs.dshift,
        sums: outputs.sums,
      },
      grid: foldGrid(Math.ceil((count * perFrame * c) / 4 / cellsKernel.overrides.WG), caps),
    });
  });
}

function tooWide(x: Tensor, caps: Capabilities): never {
  throw new CogwheelError(
    "group_norm_gradient_sums",
    `a row of blocks of x [${x.shape.join(", ")}] must fit a binding of ${caps.maxBindingBytes} bytes; choose a smaller picture`,
  );
}
