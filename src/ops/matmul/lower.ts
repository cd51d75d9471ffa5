/** How matmul is carried out: windows of rows and of weights, and a dispatch of the chosen kernel for each. */
import { matmulDotI8, matmulOctet, matmulQuad, matmulSubgroupMatrix, matmulTiled } from "#kernels";
import type { Capabilities } from "../../gpu/capabilities.ts";
import type { Kernel, SharedConst } from "../../gpu/kernel.ts";
import { bytesOf, type DType } from "../../graph/dtype.ts";
import type { Dispatch, Node, Target } from "../../graph/op.ts";
import { PANEL } from "../../graph/packing.ts";
import { choiceKey } from "../../plan/choice.ts";
import { dispatch, foldGrid, gcd, rowView, type RowWindow, rowWindows } from "../../plan/dispatch.ts";
import { tileConsts } from "../tiles/register-tile.ts";
import type { MatmulAttrs, MatmulInputs } from "./operands.ts";
import { panelWindows, q8PanelBytes, quantized } from "./integers.ts";
import { matmulCandidates, type MatmulVariant, packingOf } from "./variants.ts";

type MatmulNode = Node<MatmulInputs, MatmulAttrs, "y">;
type EpilogueSwitch = Exclude<SharedConst<typeof matmulTiled, typeof matmulOctet>, "INPUT_ROWS">;
type KernelShapeOf<K> = K extends Kernel<infer S> ? S : never;

/**
 * Every switch of the kernels' epilogue (kernels/shared/matmul.wgsl), and when it is on. A new one is a constant there, a line here and a
 * case of the sweep; one that is missing here or there does not compile.
 */
const EPILOGUE: Readonly<Record<EpilogueSwitch, (node: MatmulNode, inPlace: boolean) => boolean>> = {
  BIAS: ({ inputs }) => inputs.bias !== undefined,
  ADDEND: ({ inputs, attrs }) => inputs.residual !== undefined && attrs.early,
  GELU: ({ attrs }) => attrs.activation === "gelu",
  SILU: ({ attrs }) => attrs.activation === "silu",
  GATE: ({ inputs }) => inputs.gate !== undefined,
  RESIDUAL: ({ inputs, attrs }, inPlace) => inputs.residual !== undefined && !attrs.early && !inPlace,
  ACCUMULATE: (_, inPlace) => inPlace,
};

const switchesOf = (node: MatmulNode, inPlace: boolean) =>
  Object.fromEntries(Object.entries(EPILOGUE).map(([name, on]) => [name, +on(node, inPlace)])) as Record<keyof typeof EPILOGUE, number>;

/** The chosen kernel on one window, of matmul and of matmul_nn. */
export function product(
  variant: MatmulVariant,
  types: { readonly X: DType; readonly W: DType; readonly Y: DType },
  switches: Readonly<Record<string, number>>,
  common: Pick<Dispatch<KernelShapeOf<typeof matmulTiled>>, "bindings" | "params" | "grid">,
): Dispatch {
  if (variant.name === "octet")
    return dispatch({ kernel: matmulOctet, ...common, types, consts: { ...switches, ROWS: variant.rows }, overrides: { WG: variant.wg } });
  if (variant.name === "quad")
    return dispatch({ kernel: matmulQuad, ...common, types, consts: { ...switches, ROWS: variant.rows }, overrides: { WG: variant.wg } });
  if (variant.name === "dot_i8") {
    const { bm: BM, bn: BN, tm: TM, tn: TN } = variant;
    return dispatch({ kernel: matmulDotI8, ...common, types: { Y: types.Y }, consts: { ...switches, BM, BN, TM, TN } });
  }
  if (variant.name === "tiled") return dispatch({ kernel: matmulTiled, ...common, types, consts: { ...switches, ...tileConsts(variant) } });
  return dispatch({ kernel: matmulSubgroupMatrix, ...common, types: { Y: types.Y }, consts: { ...switches, ...variant.consts } });
}

/** y = epilogue(x · wᵀ): w in windows of panels, which are columns of y. */
export function lowerMatmul(node: MatmulNode, target: Target): Dispatch[] {
  const {
    inputs: { x, w, bias, residual, gate, gateRow },
    attrs,
    outputs: { y },
  } = node;
  const { caps } = target;
  const k = x.dim(-1);
  const m = x.size / k;
  const nTotal = y.size / m;
  const bytes8 = !attrs.exact && caps.dotI8 && k === w.dim(1) && target.formatOf(w) === "q8_0";
  const candidates = matmulCandidates(caps, { m, n: nTotal, k, half: x.dtype === "f16" && w.dtype === "f16", bytes8 });
  const types = [x.dtype, w.dtype, y.dtype, ...(bytes8 ? ["q8_0"] : [])];
  const variant = target.choose(choiceKey("matmul", { m }, { n: nTotal, k }, types), candidates);
  const switches = switchesOf(node, target.inPlace);
  const packing = packingOf(variant);
  const panelBytes = variant.name === "dot_i8" ? q8PanelBytes(k) : PANEL * k * bytesOf[w.dtype];
  const integers = variant.name === "dot_i8" ? quantized(x, target) : undefined;
  const rowBytes = [
    k * bytesOf[x.dtype],
    ...(attrs.heads === null ? [nTotal * bytesOf[y.dtype]] : []),
    ...(residual ? [nTotal * 4] : []),
    ...(gateRow ? [4] : []),
  ];
  const windows = (flops: number): RowWindow[] =>
    integers ? panelWindows(caps, m, [...rowBytes, q8PanelBytes(k) / PANEL], flops) : rowWindows(caps, m, rowBytes, flops);
  const products = columnWindows(caps, m, nTotal, attrs.heads, bytesOf[y.dtype], panelBytes).flatMap((part) =>
    windows(2 * part.n * k).map((rows) => {
      const tiles = Math.ceil(part.n / variant.bn) * Math.ceil(rows.count / variant.bm);
      const weights = { tensor: w, packing, offset: part.panel * panelBytes, bytes: Math.ceil(part.n / PANEL) * panelBytes };
      return product(variant, { X: x.dtype, W: w.dtype, Y: y.dtype }, switches, {
        bindings: {
          x: integers?.view(rows) ?? rowView(x, rows, k),
          w: weights,
          bias: bias ? { tensor: bias, packing: "vector" } : weights,
          residual: residual && !target.inPlace ? rowView(residual, rows, nTotal) : rowView(x, rows, k),
          gate: gate ?? rowView(x, rows, k),
          gate_row: gateRow ? rowView(gateRow, rows, 1) : rowView(x, rows, k),
          y: part.heads ? rowView(y, part.heads, m * attrs.heads!) : rowView(y, rows, nTotal),
        },
        params: {
          m: rows.count,
          n: part.n,
          k,
          n_base: part.panel * PANEL,
          n_total: nTotal,
          tiles,
          y_first: (part.heads?.start ?? 0) * (attrs.heads ?? 0),
          y_width: attrs.heads ?? nTotal,
          y_rows: m,
          y_row: part.heads ? rows.start : 0,
          x_first: 0,
          x_width: k,
        },
        grid: foldGrid(tiles, caps),
      });
    }),
  );
  return [...(integers?.dispatches ?? []), ...products];
}

interface ColumnWindow {
  /** First panel of w, and columns. */
  readonly panel: number;
  readonly n: number;
  /** The heads of y that hold them and are bound, where y is laid out by head. */
  readonly heads?: RowWindow;
}

/** Columns by what can be bound of w at once and, by head, of y: whole heads then, which begin where a panel of w does. */
function columnWindows(
  caps: Capabilities,
  m: number,
  n: number,
  width: number | null,
  element: number,
  panelBytes: number,
): ColumnWindow[] {
  const within = (first: number, count: number, heads?: RowWindow): ColumnWindow[] =>
    rowWindows(caps, Math.ceil(count / PANEL), [panelBytes]).map((w) => ({
      panel: first / PANEL + w.start,
      n: Math.min(w.count * PANEL, count - w.start * PANEL),
      ...(heads ? { heads } : {}),
    }));
  if (width === null) return within(0, n);
  const headBytes = m * width * element;
  if (n * m * element <= caps.maxBindingBytes) return within(0, n, { start: 0, count: n / width });
  // A row of so many bytes a column is aligned where a panel begins that a binding may.
  const column = gcd(caps.offsetAlignment, panelBytes) / PANEL;
  return rowWindows(caps, n / width, [headBytes, width * column], 0, { what: "heads" }).flatMap((heads) =>
    within(heads.start * width, heads.count * width, heads),
  );
}
