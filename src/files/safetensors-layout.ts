/**
 * Where everything of a safetensors file goes that is to be written. The same tensors and metadata give the same bytes in whatever order
 * they come: tensors go by element size, largest first (so every one is aligned), then by name; metadata goes by key; the header is padded
 * with spaces to 8 bytes.
 */
import { CogwheelError } from "../base/errors.ts";
import { elements } from "../base/shape.ts";
import { DTYPE_BYTES, type SafetensorsDType } from "./safetensors-dtype.ts";

/** A tensor of a file that is to be written. */
export interface TensorShape {
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
}

/** How a file begins, and what follows. */
export interface SafetensorsLayout<T> {
  /** The length of the header and the header: the file's first bytes. */
  readonly head: Uint8Array<ArrayBuffer>;
  /** The tensors in the order of their bytes, which lie end to end after `head`. */
  readonly order: readonly (readonly [name: string, tensor: T])[];
  /** Of the whole file. */
  readonly bytes: number;
}

/** Lays out a file; its tensors need not be in memory. */
export function layoutSafetensors<T extends TensorShape>(
  tensors: Iterable<readonly [string, T]>,
  metadata: Record<string, string> = {},
): SafetensorsLayout<T> {
  const byName = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
  const order = [...tensors].sort(([a, x], [b, y]) => DTYPE_BYTES[y.dtype] - DTYPE_BYTES[x.dtype] || byName(a, b));
  // Written by hand: an object would move names that look like numbers to the front, and lose `__proto__`.
  const fields: string[] = [];
  const keys = Object.keys(metadata).sort(byName);
  if (keys.length) {
    fields.push(`"__metadata__":{${keys.map((key) => `${JSON.stringify(key)}:${JSON.stringify(metadata[key])}`).join(",")}}`);
  }
  let at = 0;
  for (const [name, { dtype, shape }] of order) {
    if (name === "__metadata__") {
      throw new CogwheelError(
        "checkpoint",
        "writeSafetensors: __metadata__ is the header's own name, got a tensor of that name; rename the tensor",
      );
    }
    const end = at + elements(shape) * DTYPE_BYTES[dtype];
    fields.push(`${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape.join(",")}],"data_offsets":[${at},${end}]}`);
    at = end;
  }
  const header = new TextEncoder().encode(`{${fields.join(",")}}`);
  const head = new Uint8Array(8 + Math.ceil(header.length / 8) * 8).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(head.length - 8), true);
  head.set(header, 8);
  return { head, order, bytes: head.length + at };
}
