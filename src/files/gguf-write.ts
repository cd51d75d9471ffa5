/** Writes GGUF files (version 3). The header comes first and says where every tensor will lie, so that weights may follow one by one. */
import { CogwheelError } from "../base/errors.ts";
import { joined } from "../base/joined.ts";
import { elements } from "../base/shape.ts";
import type { GgufValue } from "./gguf.ts";
import { ALIGNMENT, BOOL, FLOAT32, READABLE_TYPES, STRING, UINT32 } from "./gguf-types.ts";

/** A tensor that is to be written. */
export interface GgufTensorToWrite {
  readonly name: string;
  /** F32, F16, BF16, Q8_0, … */
  readonly type: string;
  /** Row-major as in a state dict. */
  readonly shape: readonly number[];
}

/** The beginning of a file, and what follows it. */
export interface GgufLayout {
  readonly header: Uint8Array<ArrayBuffer>;
  /** By name, in the order in which they were given: where each begins, its bytes, and the zeros that must follow it. */
  readonly tensors: ReadonlyMap<string, { readonly start: number; readonly bytes: number; readonly padding: number }>;
  /** Bytes of the whole file. */
  readonly bytes: number;
}

/** Lays a file out. Numbers of the metadata are stored as u32 where they are whole and fit, else as f32. */
export function ggufLayout(metadata: ReadonlyMap<string, GgufValue>, tensors: readonly GgufTensorToWrite[]): GgufLayout {
  const sizes = tensors.map(({ name, type, shape }) => {
    const known = READABLE_TYPES.get(type);
    if (!known || (shape.at(-1) ?? 1) % known.values)
      throw new CogwheelError(
        "checkpoint",
        `${name}: a tensor must be of a GGUF type with rows of whole blocks, got ${type} [${shape.join(", ")}]; store it as F16`,
      );
    const bytes = (elements(shape) / known.values) * known.bytes;
    return { id: known.id, bytes, padding: padding(bytes) };
  });
  const parts = [text("GGUF", false), u32(3), u64(tensors.length), u64(metadata.size)];
  for (const [key, value] of metadata) parts.push(text(key), ...valueParts(value));
  let offset = 0;
  for (const [i, { name, shape }] of tensors.entries()) {
    const { id, bytes, padding } = sizes[i]!;
    parts.push(text(name), u32(shape.length), ...[...shape].reverse().map(u64), u32(id), u64(offset));
    offset += bytes + padding;
  }
  const unpadded = parts.reduce((sum, part) => sum + part.length, 0);
  const header = joined([...parts, new Uint8Array(padding(unpadded))]);
  let start = header.length;
  const placed = tensors.map(({ name }, i) => {
    const { bytes, padding } = sizes[i]!;
    start += bytes + padding;
    return [name, { start: start - bytes - padding, bytes, padding }] as const;
  });
  return { header, tensors: new Map(placed), bytes: header.length + offset };
}

/** A whole file in memory. */
export function writeGguf(
  metadata: ReadonlyMap<string, GgufValue>,
  tensors: readonly (GgufTensorToWrite & { readonly data: ArrayBufferView })[],
): Uint8Array<ArrayBuffer> {
  const layout = ggufLayout(metadata, tensors);
  const parts: Uint8Array[] = [layout.header];
  for (const { name, type, shape, data } of tensors) {
    const { bytes, padding } = layout.tensors.get(name)!;
    if (data.byteLength !== bytes)
      throw new CogwheelError(
        "checkpoint",
        `${name}: ${type} [${shape.join(", ")}] takes ${bytes} bytes, got ${data.byteLength}; pass data of that size`,
      );
    parts.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), new Uint8Array(padding));
  }
  return joined(parts);
}

const padding = (bytes: number): number => -bytes & (ALIGNMENT - 1);

function u32(value: number): Uint8Array {
  const out = new Uint8Array(4);
  new DataView(out.buffer).setUint32(0, value, true);
  return out;
}

function u64(value: number): Uint8Array {
  const out = new Uint8Array(8);
  new DataView(out.buffer).setBigUint64(0, BigInt(value), true);
  return out;
}

function text(value: string, counted = true): Uint8Array {
  const bytes = new TextEncoder().encode(value);
  return counted ? joined([u64(bytes.length), bytes]) : bytes;
}

function valueParts(value: GgufValue): Uint8Array[] {
  if (typeof value === "string") return [u32(STRING), text(value)];
  if (typeof value === "boolean") return [u32(BOOL), Uint8Array.of(Number(value))];
  if (Number.isInteger(value) && value >= 0 && value < 2 ** 32) return [u32(UINT32), u32(value)];
  const number = new Uint8Array(4);
  new DataView(number.buffer).setFloat32(0, value, true);
  return [u32(FLOAT32), number];
}
