/** How work is cut into dispatches: grids that an adapter allows, windows of rows that it can bind. */
import { CogwheelError } from "../base/errors.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import type { KernelShape } from "../gpu/kernel.ts";
import { bytesOf } from "../graph/dtype.ts";
import type { Dispatch, View } from "../graph/op.ts";
import { Tensor } from "../graph/tensor.ts";

export const viewOf = (binding: Tensor | View): View => (binding instanceof Tensor ? { tensor: binding } : binding);

/** Checks a dispatch against its kernel's declarations at compile time and forgets the types. */
export function dispatch<S extends KernelShape>(d: Dispatch<S>): Dispatch {
  return d as unknown as Dispatch;
}

/** One axis of workgroups, folded to fit the adapter: kernels take `wid.y * num_workgroups.x + wid.x` and return past the end. */
export function foldGrid(count: number, caps: Capabilities, z = 1): [number, number, number] {
  if (count <= caps.maxGrid) return [count, 1, z];
  const y = Math.ceil(count / caps.maxGrid);
  return [Math.ceil(count / y), y, z];
}

/** Rows that one dispatch takes, where all together are too many for a binding. */
export interface RowWindow {
  /** First row and number of rows. */
  readonly start: number;
  readonly count: number;
}

/** Operations of one dispatch at most: a browser resets a device that is busy for seconds, and a slow GPU does 1e12 in one. */
export const MAX_DISPATCH_FLOPS: Readonly<Record<Capabilities["kind"], number>> = { hardware: 4e11, software: 2e10 };

/**
 * Splits `rows` so that every row-major tensor whose rows have `rowBytes[i]` bytes stays within the binding limit, at
 * offsets that a binding may have, and so that a dispatch stays within the limit on work where a row takes `rowFlops`.
 * One window when everything fits. `most`: rows of a window, as far as offsets allow; `what` errors call the rows.
 */
export function rowWindows(
  caps: Capabilities,
  rows: number,
  rowBytes: readonly number[],
  rowFlops = 0,
  { most: wanted = rows, what = "rows" }: { most?: number; what?: string } = {},
): RowWindow[] {
  const widest = Math.max(...rowBytes);
  const affordable = Math.min(wanted, rowFlops > 0 ? Math.max(1, Math.floor(MAX_DISPATCH_FLOPS[caps.kind] / rowFlops)) : rows);
  if (widest * rows <= caps.maxBindingBytes && rows <= affordable) return [{ start: 0, count: rows }];
  let step = 1;
  for (const bytes of rowBytes) step = lcm(step, caps.offsetAlignment / gcd(caps.offsetAlignment, bytes));
  const most = Math.floor(caps.maxBindingBytes / widest / step) * step;
  if (most <= 0) {
    throw new CogwheelError(
      "graph",
      `a window of ${step} ${what} must fit a binding of ${caps.maxBindingBytes} bytes, ` +
        `got ${what} of ${widest} bytes; choose a smaller size`,
    );
  }
  const each = Math.min(most, Math.max(step, Math.floor(affordable / step) * step));
  const windows: RowWindow[] = [];
  for (let start = 0; start < rows; start += each) windows.push({ start, count: Math.min(each, rows - start) });
  return windows;
}

/** The part of a row-major `tensor` (as [rows, rowElements]) that a window covers. */
export function rowView(tensor: Tensor, window: RowWindow, rowElements: number): View {
  const rowBytes = rowElements * bytesOf[tensor.dtype];
  return { tensor, offset: window.start * rowBytes, bytes: window.count * rowBytes };
}

/**
 * Windows of vectors of four over `size` values of tensors that take `bytes[i]` each. The last vector may be whole only with what lies
 * behind the tensor: memory is padded to whole vectors, and what a kernel writes there nobody reads. {@link rowView} with rows of 4 gives
 * the part of a tensor. A kernel that adds values up has to leave those out.
 */
export const vectorWindows = (caps: Capabilities, size: number, bytes: readonly number[]): RowWindow[] =>
  rowWindows(
    caps,
    Math.ceil(size / 4),
    bytes.map((each) => 4 * each),
  );

export function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}
function lcm(a: number, b: number): number {
  return (a / gcd(a, b)) * b;
}
