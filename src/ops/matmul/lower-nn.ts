/** How matmul_nn is carried out, by matmul's kernels: apart from matmul, for a page that only generates does without it. */
import { bytesOf, type DType } from "../../graph/dtype.ts";
import type { Dispatch, Node, Target } from "../../graph/op.ts";
import { PANEL, padTo } from "../../graph/packing.ts";
import { choiceKey } from "../../plan/choice.ts";
import { foldGrid, rowView, rowWindows } from "../../plan/dispatch.ts";
import { product } from "./lower.ts";
import type { MatmulNnInputs } from "./operands.ts";
import { matmulCandidates, packingOf } from "./variants.ts";

/** Rows of w that a window begins at multiples of: what any kernel takes at once, in whole panels. */
const UNIT = 64;

/**
 * y = x · w, from the layout in which x · wᵀ reads w: so a weight that both products read is on the device once. Windows of panels are
 * some of the inputs here, whose products are summed in the order of the windows, in f32.
 */
export function lowerMatmulNn(
  { inputs: { x, w }, outputs: { y } }: Node<MatmulNnInputs, { dtype: DType }, "y">,
  target: Target,
): Dispatch[] {
  const { caps } = target;
  const k = x.dim(-1);
  const n = y.dim(-1);
  const m = x.size / k;
  const laid = target.layoutsOf(w);
  const all = matmulCandidates(caps, { m, n, k, half: x.dtype === "f16" && w.dtype === "f16", turned: true });
  const fitting = all.filter((variant) => laid.includes(packingOf(variant)));
  // A kernel of another layout, and w once more in it, only where no kernel for this one divides the inputs.
  const candidates = fitting.length ? fitting : all;
  const layouts = [...new Set(candidates.map(packingOf))].join("+");
  const variant = target.choose(choiceKey("matmul_nn", { m }, { n, k, w: layouts }, [x.dtype, w.dtype, y.dtype]), candidates);
  const packing = packingOf(variant);
  const rowOfW = (packing === "row" ? padTo(n, 8) : n) * bytesOf[w.dtype];
  const parts = rowWindows(caps, Math.ceil(k / UNIT), [UNIT * rowOfW], 0, { what: "panels" });
  const sums = y.dtype === "f32" || parts.length === 1 ? y : target.scratch(y.shape, "f32");
  return parts.flatMap((part, i) => {
    const inputs = Math.min(part.count * UNIT, k - part.start * UNIT);
    const out = i === parts.length - 1 ? y : sums;
    return rowWindows(caps, m, [k * bytesOf[x.dtype], n * bytesOf[sums.dtype], n * bytesOf[y.dtype]], 2 * n * inputs).map((rows) => {
      const tiles = Math.ceil(n / variant.bn) * Math.ceil(rows.count / variant.bm);
      const from = rowView(x, rows, k);
      const switches = { INPUT_ROWS: 1, ACCUMULATE: +(i > 0 && out === sums), RESIDUAL: +(i > 0 && out !== sums) };
      return product(variant, { X: x.dtype, W: w.dtype, Y: out.dtype }, switches, {
        bindings: {
          x: from,
          w: { tensor: w, packing, offset: part.start * UNIT * rowOfW, bytes: Math.min(padTo(inputs, PANEL), part.count * UNIT) * rowOfW },
          bias: from,
          residual: switches.RESIDUAL ? rowView(sums, rows, n) : from,
          gate: from,
          gate_row: from,
          y: rowView(out, rows, n),
        },
        params: {
          m: rows.count,
          n,
          k: inputs,
          n_base: 0,
          n_total: n,
          tiles,
          y_first: 0,
          y_width: n,
          y_rows: m,
          y_row: 0,
          x_first: part.start * UNIT,
          x_width: k,
        },
        grid: foldGrid(tiles, caps),
      });
    });
  });
}
