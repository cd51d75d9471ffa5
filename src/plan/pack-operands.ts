/**
 * Packs operands that are not weights. Some kernels read an operand in a packed layout. A weight is packed while it is loaded
 * (src/run/weight-store.ts). An input, a constant or an activation is packed on the device instead, by dispatches before the one that
 * reads it, into memory of its own; so an op's kernels need not know which of the two it was.
 */
import { packOperand } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import { bytesOf, elements } from "../graph/dtype.ts";
import type { Dispatch, Target, View } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowWindows, viewOf } from "./dispatch.ts";
import { packedElements, padTo, PANEL, type NumberPacking } from "../graph/packing.ts";

/** The dispatches with every packed view of such an operand replaced by one of its packed copy, and `before` them what makes the copies. */
export function packOperands(dispatches: readonly Dispatch[], target: Target): { before: Dispatch[]; dispatches: readonly Dispatch[] } {
  const before: Dispatch[] = [];
  const copies = new Map<string, Tensor>();
  const replaced = (binding: Tensor | View): Tensor | View => {
    const { tensor, packing = "natural", ...part } = viewOf(binding);
    if (packing === "natural" || tensor.root.role === "weight") return binding;
    if (packing === "q8")
      throw new CogwheelError("graph", `what is packed for 8-bit integers must be a weight of q8_0, got ${tensor}; choose another kernel`);
    // Read by vectors of 4, and these are whole as they lie.
    if (packing === "vector" && tensor.size % 4 === 0) return { tensor, ...part };
    const key = `${tensor.id} ${packing}`;
    let copy = copies.get(key);
    if (!copy) {
      copies.set(key, (copy = target.scratch([packedElements(tensor.shape, packing)], tensor.dtype)));
      before.push(...pack(tensor, copy, packing, target.caps));
    }
    return { tensor: copy, ...part };
  };
  const after = dispatches.map((d) => {
    const bindings = Object.entries(d.bindings as Record<string, Tensor | View>).map(
      ([name, binding]) => [name, replaced(binding)] as const,
    );
    return bindings.some(([name, binding]) => binding !== (d.bindings as Record<string, Tensor | View>)[name])
      ? { ...d, bindings: Object.fromEntries(bindings) }
      : d;
  });
  return { before, dispatches: after };
}

/** x, row-major as it is, into y: windows of as many outputs as make whole panels. */
function pack(x: Tensor, y: Tensor, packing: Exclude<NumberPacking, "natural">, caps: Capabilities): Dispatch[] {
  const [out, inner, ...more] = packing === "vector" ? [1, x.size] : (x.shape as [number, number, ...number[]]);
  const taps = elements(more);
  const padded = padTo(inner, packing === "vector" ? PANEL : packing === "row" ? 8 : 4);
  // Outputs that a window begins at multiples of, and bytes of so many.
  const unit = packing === "vector" ? 1 : PANEL;
  const size = bytesOf[x.dtype];
  const [from, to] = [unit * inner * taps * size, unit * padded * taps * size];
  return rowWindows(caps, Math.ceil(out / unit), [from, to], 0, { what: "panels" }).map(({ start, count }) => {
    const vectors = (count * unit * padded * taps) / 4;
    const outputs = Math.min(count * unit, out - start * unit);
    const bytes = outputs * inner * taps * size;
    return dispatch({
      kernel: packOperand,
      types: { X: x.dtype },
      consts: { PANELS: +(packing === "panel") },
      params: { count: vectors, out: outputs, inner, taps, padded },
      bindings: { x: { tensor: x, offset: start * from, bytes }, y: { tensor: y, offset: start * to, bytes: count * to } },
      grid: foldGrid(Math.ceil(vectors / 64), caps),
      cost: { flops: 0, bytes: bytes + count * to },
    });
  });
}
