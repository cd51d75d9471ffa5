/** Operands that name rows of another: positions, modulations, rows that are asked for. */
import { CogwheelError } from "../base/errors.ts";
import type { Tensor } from "./tensor.ts";

/**
 * Refuses an index that names a row past the end, where it is known when recording. What an input or an activation names is its maker's
 * concern: a row past the end reads some other.
 */
export function assertRows(op: string, what: string, index: Tensor, rows: number): void {
  if (index.role !== "constant") return;
  const most = (index.data as Uint32Array).reduce((a, b) => Math.max(a, b), 0);
  if (most >= rows)
    throw new CogwheelError(op, `an index into ${what} must be below its ${rows} rows, got ${most} in ${index}; correct the index`);
}
