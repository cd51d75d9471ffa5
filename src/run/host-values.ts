/** The values of a stored weight on the host, changed and rounded as the device is to have them, some rows at a time. */
import { CogwheelError } from "../base/errors.ts";
import { f16Values, roundToF16 } from "../base/half.ts";
import { elements, type DType } from "../graph/dtype.ts";
import type { WeightValues } from "../graph/packing.ts";
import { rowBytes, type StoredWeight } from "../graph/stored.ts";
import type { WeightChange } from "./weight-provider.ts";

/** Bytes that are read at once. */
export const HOST_READ_BYTES = 1 << 20;

export async function* hostValues(
  stored: StoredWeight,
  changes: readonly WeightChange[],
  dtype: DType,
  signal?: AbortSignal,
): AsyncGenerator<WeightValues> {
  const { shape, format } = stored;
  const row = rowBytes(stored);
  const width = elements(shape.length > 1 ? shape.slice(1) : shape);
  const rows = elements(shape) / width;
  const step = Math.max(1, Math.floor(HOST_READ_BYTES / row));
  for (let first = 0; first < rows; first += step) {
    signal?.throwIfAborted();
    const count = Math.min(step, rows - first);
    const bytes = new Uint8Array(count * row);
    await stored.read(first * row, bytes, signal);
    if (format === dtype && changes.length === 0) {
      yield dtype === "f16" ? new Uint16Array(bytes.buffer) : new Float32Array(bytes.buffer);
      continue;
    }
    const values = wide(bytes, format);
    for (const change of changes) addProduct(values, first * width, change);
    yield dtype === "f16" ? narrow(new Uint32Array(values.buffer)) : values;
  }
}

function wide(bytes: Uint8Array<ArrayBuffer>, format: StoredWeight["format"]): Float32Array<ArrayBuffer> {
  if (format === "f32") return new Float32Array(bytes.buffer);
  const halves = new Uint16Array(bytes.buffer);
  const out = new Float32Array(halves.length);
  const words = new Uint32Array(out.buffer);
  const table = f16Values();
  if (format === "bf16") for (let i = 0; i < halves.length; i++) words[i] = halves[i]! << 16;
  else if (format === "f16") for (let i = 0; i < halves.length; i++) out[i] = table[halves[i]!]!;
  else throw new CogwheelError("weights", `a weight must be f32, f16 or bf16 to be loaded, got ${format}`);
  return out;
}

function narrow(words: Uint32Array): Uint16Array {
  const out = new Uint16Array(words.length);
  for (let i = 0; i < words.length; i++) out[i] = roundToF16(words[i]!);
  return out;
}

/** into += factor · up [out, rank] · down [rank, in], of whose values, row-major, `into` holds those from `start` on. */
function addProduct(into: Float32Array, start: number, { up, down, rank, factor }: WeightChange): void {
  const inner = down.length / rank;
  for (let at = 0; at < into.length; ) {
    const o = Math.floor((start + at) / inner);
    const column = (start + at) % inner;
    const row = into.subarray(at, at + inner - column);
    for (let r = 0; r < rank; r++) {
      const f = factor * up[o * rank + r]!;
      for (let i = 0, from = r * inner + column; i < row.length; i++, from++) row[i]! += f * down[from]!;
    }
    at += row.length;
  }
}
