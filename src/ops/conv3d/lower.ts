/** A part of a convolution as dispatches: a step over taps each, by the kernel that is chosen for it. */
import { conv3dOctet, conv3dQuad, conv3dQuadRow, conv3dSubgroupMatrix, conv3dTiled } from "#kernels";
import type { Dispatch, Target, View } from "../../graph/op.ts";
import { PANEL } from "../../graph/packing.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { choiceKey } from "../../plan/choice.ts";
import { dispatch, foldGrid } from "../../plan/dispatch.ts";
import { window, wrap } from "../../plan/windows.ts";
import { tileConsts } from "../tiles/register-tile.ts";
import { type ConvNode, kernelBits, seen, taps, upsampleMode } from "./geometry.ts";
import { type ConvPart, frameOrigin, inputRange, outputRange } from "./parts.ts";
import { switchBits } from "./switches.ts";
import { conv3dCandidates } from "./variants.ts";

/** A convolution, and what differs where it is a part of another op: a gradient is a convolution of dy. */
export interface Convolution extends Pick<ConvNode, "inputs" | "attrs" | "outputs"> {
  /** The weight in a kernel's layout. Default: the node's own, which the plan packs. */
  readonly weights?: (packing: "row" | "panel") => View;
  /** The memory that y is written to, from which vector on. Default: that of y. */
  readonly to?: { readonly tensor: Tensor; readonly at: number };
}

/** The dispatches that compute a part of y. */
export function lowerPart(convolution: Convolution, target: Target, part: ConvPart): Dispatch[] {
  const {
    inputs: { x, w, bias, cache, residual },
    attrs,
    outputs: { y },
    to = { tensor: y, at: 0 },
  } = convolution;
  const { caps } = target;
  const [kt, kh, kw] = taps(w);
  const [, , , wAll, n] = y.shape as [number, number, number, number, number];
  const place = outputRange(y, part);
  const m = (place.count / n) * 4;
  // Partial sums are f32: in y itself where it is, else in memory of their own, to be read as the last step's residual.
  const partial = part.steps.length > 1 && y.dtype !== "f32" ? target.scratch([m, n], "f32") : undefined;

  return part.steps.map((step, index) => {
    const mode = upsampleMode(x, attrs);
    const [first, last] = [index === 0, index === part.steps.length - 1];
    const source = step.source === "x" ? x : cache!;
    const needed = inputRange(source, w, attrs, part, step);
    const read = window(source, needed.first, needed.count, caps);
    const whole = partial && !last ? { tensor: partial, at: 0 } : { tensor: to.tensor, at: to.at + place.first };
    const written = window(whole.tensor, whole.at, place.count, caps);
    const addend = partial && last ? { tensor: partial, at: 0 } : first && residual ? { tensor: residual, at: place.first } : undefined;
    const added = addend && window(addend.tensor, addend.at, place.count, caps);
    const begun = !first && !(partial && last);
    const switches =
      switchBits({ attrs, bias: bias !== undefined, added: added !== undefined, begun, first, last, mode }) |
      (step.from << 16) |
      (step.to << 24);
    const [tIn, hIn, wIn] = [source.dim(1), ...seen(source, attrs).slice(1)] as [number, number, number];
    const candidates = conv3dCandidates(caps, {
      m,
      n,
      cin: x.dim(-1),
      kw,
      stride: attrs.stride[2],
      half: source.dtype === "f16" && w.dtype === "f16",
    });
    const exact = { n, cin: x.dim(-1), taps: [kt, kh, kw].join("×"), stride: attrs.stride.join("×") };
    const variant = target.choose(choiceKey("conv3d", { m }, exact, [source.dtype, w.dtype, whole.tensor.dtype]), candidates);
    const packing = variant.name === "subgroup_matrix" ? "row" : "panel";
    const weights: View = convolution.weights?.(packing) ?? { tensor: w, packing };
    const common = {
      bindings: {
        x: read.view,
        w: weights,
        bias: bias ? { tensor: bias, packing: "vector" as const } : weights,
        residual: added?.view ?? weights,
        y: written.view,
      },
      types: { X: source.dtype, W: w.dtype, Y: whole.tensor.dtype },
    };
    const params = {
      n,
      cin4: x.dim(-1) / 4,
      t_in: tIn,
      h_in: hIn,
      w_in: wIn,
      t_out: part.frames,
      h_out: part.rows,
      w_out: wAll,
      t_origin: frameOrigin(attrs, part, step),
      h_origin: part.h0 * attrs.stride[1] - attrs.pad[0],
      kernel: kernelBits(w, attrs),
      switches: switches >>> 0,
      x_base: wrap(read.base + (part.b * source.size) / source.dim(0) / 4),
      y_base: wrap(written.base + whole.at),
      r_base: added ? wrap(added.base + addend.at) : 0,
    };
    if (variant.name === "subgroup_matrix") {
      const {
        types: { Y },
        ...bound
      } = common;
      return dispatch({
        kernel: conv3dSubgroupMatrix,
        ...bound,
        types: { Y },
        params: { count: m, ...params },
        consts: variant.consts,
        grid: foldGrid(Math.ceil(m / variant.bm) * Math.ceil(n / variant.bn), caps),
      });
    }
    if (variant.name !== "tiled") {
      const wg = caps.subgroups!.max;
      const runs = (m / wAll) * Math.ceil(wAll / (variant.name === "quad_row" ? 8 : 4));
      const placed = {
        ...common,
        params: { count: runs, ...params },
        overrides: { WG: wg },
        grid: foldGrid(Math.ceil(runs / wg) * Math.ceil(n / PANEL), caps),
      };
      if (variant.name === "quad_row") return dispatch({ kernel: conv3dQuadRow, ...placed });
      const OVERLAP = +(attrs.stride[2] === 1);
      // Kernels of the usual widths are compiled for them.
      if (variant.name === "octet") return dispatch({ kernel: conv3dOctet, ...placed, consts: { OVERLAP, KW: kw <= 3 ? kw : 0 } });
      return dispatch({ kernel: conv3dQuad, ...placed, consts: { OVERLAP } });
    }
    return dispatch({
      kernel: conv3dTiled,
      ...common,
      params: { count: m, ...params },
      consts: tileConsts(variant),
      grid: foldGrid(Math.ceil(m / variant.bm) * Math.ceil(n / variant.bn), caps),
    });
  });
}
