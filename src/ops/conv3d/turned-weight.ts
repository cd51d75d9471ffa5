/** The weight of a convolution as the gradient with respect to its input reads it, packed on the device. Kernels: kernels/conv/. */
import { conv3dTurnWeight as kernel } from "#kernels";
import { elements } from "../../graph/dtype.ts";
import type { Dispatch, Target, View } from "../../graph/op.ts";
import { packedElements, padTo, PANEL } from "../../graph/packing.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { dispatch, foldGrid } from "../../plan/dispatch.ts";
import { taps, type Triple } from "./geometry.ts";
import type { Phase } from "./phases.ts";

/** A weight that was turned: one of [Cin, Cout, kt, kh, kw], in the layouts that kernels ask for. */
export interface TurnedWeight {
  /** Its shape and type; not in memory as such. */
  readonly w: Tensor;
  readonly weights: (packing: "row" | "panel") => View;
}

/**
 * w [N, C, KT, KH, KW] with the taps of these phases of time, rows and columns, which have one each at least. What makes it is added to
 * `dispatches` where a layout is first asked for.
 */
export function turnedWeight(
  w: Tensor,
  phases: readonly [Phase, Phase, Phase],
  packings: readonly ("row" | "panel")[],
  target: Target,
  dispatches: Dispatch[],
): TurnedWeight {
  const [n, cin] = [w.dim(0), w.dim(1)];
  const [, kh, kw] = taps(w);
  const along = [kh * kw, kw, 1] as const;
  const kernelSize = phases.map((phase) => phase.taps) as unknown as Triple;
  const shape = [cin, n, ...kernelSize];
  const made = new Map<string, View>();
  // In the layout of the convolution itself, where it is a stored weight that lies there so.
  const from = w.root.role === "weight" ? packings.find((packing) => target.layoutsOf(w).includes(packing)) : undefined;
  const strides = stridesOf(w, from);
  const weights = (packing: "row" | "panel"): View => {
    let view = made.get(packing);
    if (!view) {
      const y = target.scratch([packedElements(shape, packing)], w.dtype);
      view = { tensor: y };
      made.set(packing, view);
      dispatches.push(
        dispatch({
          kernel,
          types: { W: w.dtype },
          consts: { PANELS: +(packing === "panel") },
          params: {
            count: y.size / 4,
            cin,
            n,
            padded: padTo(n, packing === "row" ? 8 : 4),
            tap: phases.reduce((sum, { tap, step, taps: count }, i) => sum + (tap + (count - 1) * step) * along[i]!, 0),
            step_t: phases[0].step * along[0],
            step_h: phases[1].step * along[1],
            step_w: phases[2].step * along[2],
            kernel: kernelSize[0] | (kernelSize[1] << 4) | (kernelSize[2] << 8),
            ...strides,
          },
          bindings: { w: from ? { tensor: w, packing: from } : w, y: view },
          grid: foldGrid(Math.ceil(y.size / 4 / 64), target.caps),
          cost: { flops: 0, bytes: 2 * y.bytes },
        }),
      );
    }
    return view;
  };
  return { w: target.scratch(shape, w.dtype), weights };
}

/** Values of w between panels of 16 outputs, outputs of a panel, inputs and taps (src/graph/packing.ts). */
function stridesOf(w: Tensor, packing: "row" | "panel" | undefined): Record<"panel" | "row" | "column" | "along", number> {
  const cin = w.dim(1);
  const count = elements(taps(w));
  if (packing === "panel") {
    const padded = padTo(cin, 4);
    return { panel: count * padded * PANEL, row: 1, column: PANEL, along: padded * PANEL };
  }
  if (packing === "row") {
    const padded = padTo(cin, 8);
    return { panel: PANEL * count * padded, row: count * padded, column: 1, along: padded };
  }
  return { panel: PANEL * cin * count, row: cin * count, column: count, along: 1 };
}
