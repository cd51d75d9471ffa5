/** What matmul by 8-bit integers adds to the others: x in 8 bits a value, and windows that begin where a panel of 16 rows does. */
import { quantizePanels } from "#kernels";
import type { Capabilities } from "../../gpu/capabilities.ts";
import { bytesOf } from "../../graph/dtype.ts";
import type { Dispatch, Target, View } from "../../graph/op.ts";
import { PANEL, Q8 } from "../../graph/packing.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { dispatch, foldGrid, rowView, type RowWindow, rowWindows } from "../../plan/dispatch.ts";

/** Bytes of 16 rows of k inputs, in 8 bits a value. */
export const q8PanelBytes = (k: number): number => PANEL * (k / Q8.values) * Q8.bytes;

/** Windows of rows that begin where a panel of 16 does. */
export const panelWindows = (caps: Capabilities, rows: number, rowBytes: readonly number[], rowFlops = 0): RowWindow[] =>
  rowWindows(
    caps,
    Math.ceil(rows / PANEL),
    rowBytes.map((bytes) => PANEL * bytes),
    PANEL * rowFlops,
    { what: "panels of 16 rows" },
  ).map(({ start, count }) => ({ start: start * PANEL, count: Math.min(count * PANEL, rows - start * PANEL) }));

/** x in 8 bits a value: what makes it so, before the products, and the part of it that windows of rows bind. */
export function quantized(x: Tensor, { caps, scratch }: Target): { dispatches: Dispatch[]; view(rows: RowWindow): View } {
  const k = x.dim(-1);
  const m = x.size / k;
  const panelBytes = q8PanelBytes(k);
  const y = scratch([Math.ceil(m / PANEL), panelBytes / 4], "u32");
  const view = ({ start, count }: RowWindow): View => ({
    tensor: y,
    offset: (start / PANEL) * panelBytes,
    bytes: Math.ceil(count / PANEL) * panelBytes,
  });
  const dispatches = panelWindows(caps, m, [k * bytesOf[x.dtype], panelBytes / PANEL]).map((rows) => {
    const [from, to] = [rowView(x, rows, k), view(rows)];
    const tiles = Math.ceil(rows.count / PANEL) * Math.ceil(k / (2 * Q8.values));
    return dispatch({
      kernel: quantizePanels,
      types: { X: x.dtype },
      params: { m: rows.count, k, tiles },
      bindings: { x: from, y: to },
      grid: foldGrid(tiles, caps),
      cost: { flops: 0, bytes: from.bytes! + to.bytes! },
    });
  });
  return { dispatches, view };
}
