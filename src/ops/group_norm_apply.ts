/**
 * group_norm_apply: (x − mean) · rstd · weight + bias by channel; for a spatial norm then · scale + shift; then SiLU.
 * Kernels: kernels/norm/.
 */
import { groupNormApply as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import { type DType, isFloat } from "../graph/dtype.ts";
import { assertKnown } from "../graph/known-name.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { choiceKey, preferring } from "../plan/choice.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { padTo } from "../graph/packing.ts";
import { cut, window, windowFits, wrap } from "../plan/windows.ts";

interface ApplyInputs {
  x: Tensor;
  norm: Tensor;
  weight: Tensor;
  bias: Tensor;
  scale: Tensor | undefined;
  shift: Tensor | undefined;
}
/** A norm that is scaled and shifted by position: the result · scale + shift. */
export interface SpatialNorm {
  /** Both [B, Tz, Hz, Wz, C] f32, read at the nearest position. */
  scale: Tensor;
  shift: Tensor;
  /** The result · (1 + scale) + shift. Default false. */
  onePlus?: boolean;
  /** The first of an odd number of frames above 1 takes the first of scale and shift alone, the others share the rest. Default true. */
  keepFirst?: boolean;
}
export interface ApplyAttrs {
  onePlus: boolean;
  keepFirst: boolean;
  activation: "silu" | null;
  dtype: DType;
  /**
   * Where x lies in a larger picture, of which scale and shift cover the same part: their rows (columns) a row (column) of x, and how far
   * x begins after them, in its own.
   */
  place?: { stepH: number; stepW: number; shiftH: number; shiftW: number };
}

/** x [B, T, H, W, C], norm [B, 2, C] of {@link groupNormMerge} → x's shape. */
export function groupNormApply(
  x: Tensor,
  norm: Tensor,
  weight: Tensor,
  bias: Tensor,
  options: { activation?: "silu"; spatial?: SpatialNorm; dtype?: DType } = {},
): Tensor {
  assertKnown("group_norm_apply", "the activation", options.activation, ["silu"]);
  return x.graph.record(
    groupNormApplyOp,
    { x, norm, weight, bias, scale: options.spatial?.scale, shift: options.spatial?.shift },
    {
      onePlus: options.spatial?.onePlus ?? false,
      keepFirst: options.spatial?.keepFirst ?? true,
      activation: options.activation ?? null,
      dtype: options.dtype ?? "f32",
    },
  ).y;
}

/** Does the first of x's frames take the first of scale and shift alone? */
const firstApart = (x: Tensor, { keepFirst }: Pick<ApplyAttrs, "keepFirst">): boolean => keepFirst && x.dim(1) > 1 && x.dim(1) % 2 === 1;

/** Frames, rows and columns of scale and shift to one of x; `apart`: the first frame has the first to itself, and stepT is the others'. */
export function spatialSteps(x: Tensor, scale: Tensor | undefined, attrs: Pick<ApplyAttrs, "keepFirst">) {
  const [, t, h, w] = x.shape as [number, number, number, number];
  const [tz, hz, wz] = scale ? (scale.shape.slice(1, 4) as [number, number, number]) : [1, 1, 1];
  const apart = scale !== undefined && firstApart(x, attrs);
  return { apart, stepT: apart ? (tz - 1) / (t - 1) : tz / t, stepH: hz / h, stepW: wz / w };
}

/** The frame of scale and shift that frame `t` of x reads, as the kernels compute it. */
export function frameOf(t: number, x: Tensor, scale: Tensor, attrs: Pick<ApplyAttrs, "keepFirst">): number {
  const { apart, stepT } = spatialSteps(x, scale, attrs);
  const nearest = (i: number, size: number) => Math.min(Math.floor(Math.fround(i * Math.fround(stepT))), size - 1);
  if (apart) return t === 0 ? 0 : 1 + nearest(t - 1, scale.dim(1) - 1);
  return nearest(t, scale.dim(1));
}

export const groupNormApplyOp: Op<ApplyInputs, ApplyAttrs, "y"> = {
  name: "group_norm_apply",
  infer({ x, norm, weight, bias, scale, shift }, attrs) {
    if (x.shape.length !== 5 || norm.shape.join() !== [x.dim(0), 2, x.dim(-1)].join())
      throw new CogwheelError(
        "group_norm_apply",
        "x must be [B, T, H, W, C] and norm [B, 2, C], " +
          `got [${x.shape.join(", ")}] and [${norm.shape.join(", ")}]; make it with groupNormMerge`,
      );
    if (!isFloat(x) || norm.dtype !== "f32")
      throw new CogwheelError("group_norm_apply", `x must be f32 or f16 and norm f32, got ${x.dtype} and ${norm.dtype}; convert them`);
    if (padTo(weight.size, 4) !== x.dim(-1) || bias.size !== weight.size || weight.dtype !== "f32" || bias.dtype !== "f32")
      throw new CogwheelError(
        "group_norm_apply",
        `weight and bias must have an f32 value for each of ${x.dim(-1)} channels, ` +
          `got ${weight} and ${bias}; check the weight's name and type`,
      );
    for (const z of [scale, shift]) {
      if (
        z &&
        (z.shape.length !== 5 ||
          z.dtype !== "f32" ||
          z.shape.join() !== scale?.shape.join() ||
          z.dim(0) !== x.dim(0) ||
          z.dim(-1) !== x.dim(-1) ||
          (firstApart(x, attrs) && z.dim(1) < 2))
      ) {
        throw new CogwheelError(
          "group_norm_apply",
          `scale and shift must be f32 [${x.dim(0)}, frames, rows, columns, ${x.dim(-1)}], ` +
            `got [${z.shape.join(", ")}] ${z.dtype} for x [${x.shape.join(", ")}]`,
        );
      }
    }
    return { y: { shape: x.shape, dtype: attrs.dtype } };
  },
  cost({ inputs: { x, scale }, attrs: { activation }, outputs: { y } }) {
    return { flops: (2 + (scale ? 2 : 0) + (activation ? 5 : 0)) * x.size, bytes: x.bytes + y.bytes + 2 * (scale?.bytes ?? 0) };
  },
  reach({ inputs: { x, scale }, attrs }, out) {
    if (!scale) return { inputs: { x: out }, attrs };
    const [height, width, rows, columns] = [x.dim(2), x.dim(3), scale.dim(2), scale.dim(3)];
    const [perRow, perColumn] = [height / rows, width / columns];
    if (!Number.isInteger(perRow) || !Number.isInteger(perColumn))
      throw new CogwheelError(
        "group_norm_apply",
        "a picture can be cut where its size is a multiple of that of scale and shift, " +
          `got ${height} × ${width} and ${rows} × ${columns}; compute it whole`,
      );
    const region = {
      top: Math.floor(out.top / perRow),
      bottom: Math.floor((out.bottom - 1) / perRow) + 1,
      left: Math.floor(out.left / perColumn),
      right: Math.floor((out.right - 1) / perColumn) + 1,
    };
    const place = {
      stepH: rows / height,
      stepW: columns / width,
      shiftH: out.top - region.top * perRow,
      shiftW: out.left - region.left * perColumn,
    };
    return { inputs: { x: out, scale: region, shift: region }, attrs: { ...attrs, place } };
  },
  lower({ inputs: { x, norm, weight, bias, scale, shift }, attrs, outputs: { y } }, target) {
    const { caps } = target;
    const [batches, frames, height, width, c] = x.shape as [number, number, number, number, number];
    // A row longer than a line of the picture: without a spatial norm all that matters of a position is its batch entry.
    const shapes = scale
      ? [[frames, height, width] as const]
      : [[1, 1, frames * height * width] as const, [frames, height, width] as const];
    const cuts = shapes.map(([t, h, w]) => ({
      t,
      h,
      w,
      parts: cut(batches * t * h, (start, n) => [x, y].every((tensor) => windowFits(tensor, (start * w * c) / 4, (n * w * c) / 4, caps))),
    }));
    const { t, h, w, parts } = cuts.find((each) => each.parts) ?? cuts[0]!;
    if (!parts)
      throw new CogwheelError(
        "group_norm_apply",
        `one row of x [${x.shape.join(", ")}] must fit a binding of ${caps.maxBindingBytes} bytes; choose a narrower picture`,
      );
    const rowVectors = (w * c) / 4;
    const key = choiceKey("group_norm_apply", { positions: frames * height * width }, { c, spatial: +!!scale }, [x.dtype, y.dtype]);
    const { run: RUN } = target.choose(key, groupNormApplyCandidates(caps, !!scale));
    const runsOfRow = Math.ceil(w / RUN);
    const [tz, hz, wz] = scale ? (scale.shape.slice(1, 4) as [number, number, number]) : [1, 1, 1];
    const { apart, stepT, stepH, stepW } = spatialSteps(x, scale, attrs);
    return parts.map(({ start, count }) => {
      const read = window(x, start * rowVectors, count * rowVectors, caps);
      const written = window(y, start * rowVectors, count * rowVectors, caps);
      return dispatch({
        kernel,
        bindings: {
          x: read.view,
          norm,
          weight: { tensor: weight, packing: "vector" },
          bias: { tensor: bias, packing: "vector" },
          scale: scale ?? norm,
          shift: shift ?? norm,
          y: written.view,
        },
        params: {
          runs: count * runsOfRow,
          first: start * runsOfRow,
          c4: c / 4,
          t,
          h,
          w,
          tz,
          hz,
          wz,
          step_t: stepT,
          step_h: attrs.place?.stepH ?? stepH,
          step_w: attrs.place?.stepW ?? stepW,
          shift_h: attrs.place?.shiftH ?? 0,
          shift_w: attrs.place?.shiftW ?? 0,
          x_base: wrap(read.base),
          y_base: wrap(written.base),
        },
        types: { X: x.dtype, Y: y.dtype },
        overrides: { RUN },
        consts: { SILU: +(attrs.activation === "silu"), SPATIAL: +!!scale, ONE_PLUS: +attrs.onePlus, FIRST_APART: +apart },
        grid: foldGrid(Math.ceil((count * runsOfRow * (c / 4)) / kernel.overrides.WG), caps),
      });
    });
  },
};

export interface GroupNormApplyVariant {
  name: "lane";
  run: number;
}

/**
 * Positions that a lane takes. A GPU wants many lanes; a CPU adapter pays for the integer divisions before them, and a spatial norm's
 * runs end with a row of the picture.
 */
export function groupNormApplyCandidates(caps: Capabilities, spatial: boolean): GroupNormApplyVariant[] {
  const lane = (run: number): GroupNormApplyVariant => ({ name: "lane", run });
  return preferring(lane(caps.kind === "hardware" ? 4 : spatial ? 64 : 128), [4, 16, 64, 128].map(lane));
}
