/**
 * Stored weights → numbers, in float64 and apart from the engine: what unpacking on the device is compared with. Written from the layouts
 * in ggml-common.h. A value is rounded to f32 as ggml's own code rounds it, product by product, where `f32` is asked for.
 */
import { FORMATS, storedBytes, type Format, type StoredWeight } from "../../src/graph/stored.ts";

const f32 = Math.fround;

/** The value of 16 bits of IEEE half precision. */
function half(bits: number): number {
  const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

/** The value of 8 bits of OCP's E4M3FN. */
function e4m3(bits: number): number {
  const [sign, exponent, fraction] = [bits & 128 ? -1 : 1, (bits >> 3) & 15, bits & 7];
  if (exponent === 15 && fraction === 7) return NaN;
  return sign * (exponent === 0 ? (fraction / 8) * 2 ** -6 : (1 + fraction / 8) * 2 ** (exponent - 7));
}

/** Scale and minimum of a group of 32 in q4_k and q5_k, of 12 bytes that hold eight of each in 6 bits. */
function scaleMin(s: DataView, at: number, j: number): [scale: number, min: number] {
  const byte = (i: number) => s.getUint8(at + i);
  if (j < 4) return [byte(j) & 63, byte(j + 4) & 63];
  return [(byte(j + 4) & 15) | ((byte(j - 4) >> 6) << 4), (byte(j + 4) >> 4) | ((byte(j) >> 6) << 4)];
}

/** The values of one block that begins at byte `at`. */
function block(format: Format, v: DataView, at: number): number[] {
  const u8 = (i: number) => v.getUint8(at + i);
  const f16 = (i: number) => half(v.getUint16(at + i, true));
  const list = (n: number, value: (i: number) => number) => Array.from({ length: n }, (_, i) => value(i));
  switch (format) {
    case "f32":
      return [v.getFloat32(at, true)];
    case "f16":
      return [f16(0)];
    case "bf16": {
      const word = new DataView(new ArrayBuffer(4));
      word.setUint16(0, v.getUint16(at, true));
      return [word.getFloat32(0)];
    }
    case "e4m3":
      return [e4m3(u8(0))];
    case "q8_0":
      return list(32, (i) => f32(f16(0) * v.getInt8(at + 2 + i)));
    case "q4_0":
      return list(32, (i) => f32(f16(0) * (((u8(2 + (i % 16)) >> (i < 16 ? 0 : 4)) & 15) - 8)));
    case "q5_0": {
      const high = v.getUint32(at + 2, true);
      return list(32, (i) => f32(f16(0) * ((((u8(6 + (i % 16)) >> (i < 16 ? 0 : 4)) & 15) | (((high >>> i) & 1) << 4)) - 16)));
    }
    case "q4_k":
    case "q5_k": {
      const fifth = format === "q5_k" ? 16 : undefined;
      const low = fifth === undefined ? 16 : 48;
      return list(256, (i) => {
        const group = i >> 5;
        const [scale, min] = scaleMin(v, at + 4, group);
        const q = (u8(low + (group >> 1) * 32 + (i & 31)) >> (group & 1 ? 4 : 0)) & 15;
        const top = fifth === undefined ? 0 : ((u8(fifth + (i & 31)) >> group) & 1) << 4;
        return f32(f32(f32(f16(0) * scale) * (q | top)) - f32(f16(2) * min));
      });
    }
    case "q6_k":
      return list(256, (i) => {
        const [part, within] = [i >> 7, i & 127];
        const [quarter, l] = [within >> 5, within & 31];
        const low = (u8(part * 64 + (quarter & 1) * 32 + l) >> (quarter & 2 ? 4 : 0)) & 15;
        const high = (u8(128 + part * 32 + l) >> (2 * quarter)) & 3;
        return f32(f32(f16(208) * v.getInt8(at + 192 + (i >> 4))) * ((low | (high << 4)) - 32));
      });
  }
}

/** All values of a weight's bytes, times its scale, rounded to f32. */
export function dequantized(bytes: Uint8Array, { format, shape, scale }: Pick<StoredWeight, "format" | "shape" | "scale">): Float32Array {
  const { values, bytes: size } = FORMATS[format];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const out = new Float32Array((bytes.length / size) * values);
  for (let b = 0; b * size < bytes.length; b++) out.set(block(format, view, b * size), b * values);
  const row = out.length / (shape[0] ?? 1);
  if (scale) for (let i = 0; i < out.length; i++) out[i]! *= scale.length === 1 ? scale[0]! : scale[Math.floor(i / row)]!;
  return out;
}

/** Reads a weight whole. */
export async function readStored(weight: StoredWeight): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(storedBytes(weight));
  await weight.read(0, bytes);
  return bytes;
}

/** Reads a weight and gives its values. */
export const valuesOf = async (weight: StoredWeight): Promise<Float32Array> => dequantized(await readStored(weight), weight);
