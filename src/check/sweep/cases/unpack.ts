/** unpack: every stored format into every packing, rows that are no whole vectors or panels, scales and changes, windows. */
import {
  lowRankProduct,
  matmulTnOctet,
  matmulTnQuad,
  unpackBlocks,
  unpackPanels,
  unpackPlain,
  unpackQ8,
  unpackSuperBlocks,
} from "#kernels";
import { elements } from "../../../graph/dtype.ts";
import { packedBytes, packedElements, padTo, type Packing } from "../../../graph/packing.ts";
import { FORMATS, storedBytes, type Format } from "../../../graph/stored.ts";
import type { Kernel } from "../../../gpu/kernel.ts";
import { unpack } from "../../../ops/unpack.ts";
import type { ListedKernel, OpCase, OpCases, Size } from "../case.ts";
import { drawn, type Values } from "../draw.ts";
import { cpuKernel, eightLanes, fewerLanes, gpuKernel, oneKernel } from "../listed-kernels.ts";

/** sign, exponent, mantissa → value; the least exponent is of subnormals. */
function floating(code: number, mantissa: number, exponents: number, bias: number): number {
  const sign = (code >> (mantissa + exponents)) & 1 ? -1 : 1;
  const exponent = (code >> mantissa) & (2 ** exponents - 1);
  const rest = (code & (2 ** mantissa - 1)) / 2 ** mantissa;
  return sign * (exponent > 0 ? (1 + rest) * 2 ** (exponent - bias) : rest * 2 ** (1 - bias));
}

/** The values of bytes as they are stored, by their formats' definitions. */
export function storedValues(format: Format, raw: Uint8Array): Float64Array {
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const half = (at: number): number => floating(view.getUint16(at, true), 10, 5, 15);
  const nibble = (at: number, high: boolean): number => (high ? raw[at]! >> 4 : raw[at]! & 15);
  const bit = (at: number, i: number): number => (raw[at + (i >> 3)]! >> (i & 7)) & 1;
  /** Value k of the block at a byte. */
  const value: Readonly<Record<Format, (at: number, k: number) => number>> = {
    f32: (at) => view.getFloat32(at, true),
    f16: half,
    bf16: (at) => floating(view.getUint16(at, true), 7, 8, 127),
    e4m3: (at) => floating(raw[at]!, 3, 4, 7),
    q8_0: (at, k) => half(at) * view.getInt8(at + 2 + k),
    q4_0: (at, k) => half(at) * (nibble(at + 2 + (k % 16), k >= 16) - 8),
    q5_0: (at, k) => half(at) * (nibble(at + 6 + (k % 16), k >= 16) + 16 * bit(at + 2, k) - 16),
    q4_k: (at, k) => kValue(at, k, nibble(at + 16 + 32 * (k >> 6) + (k % 32), k % 64 >= 32)),
    q5_k: (at, k) => kValue(at, k, nibble(at + 48 + 32 * (k >> 6) + (k % 32), k % 64 >= 32) + 16 * bit(at + 16 + (k % 32), k >> 5)),
    q6_k: (at, k) => {
      const [part, row, lane] = [k >> 7, (k >> 5) % 4, k % 32];
      const low = nibble(at + 64 * part + 32 * (row % 2) + lane, row >= 2);
      const high = (raw[at + 128 + 32 * part + lane]! >> (2 * row)) & 3;
      return half(at + 208) * view.getInt8(at + 192 + (k >> 4)) * (low + 16 * high - 32);
    },
  };
  /** Six bits of scale and of minimum a run of 32: 12 bytes hold them as ggml's `get_scale_min_k4` says. */
  function kValue(at: number, k: number, q: number): number {
    const [j, s] = [k >> 5, raw.subarray(at + 4, at + 16)];
    const [scale, min] =
      j < 4 ? [s[j]! & 63, s[j + 4]! & 63] : [(s[j + 4]! & 15) | ((s[j - 4]! >> 6) << 4), (s[j + 4]! >> 4) | ((s[j]! >> 6) << 4)];
    return half(at) * scale * q - half(at + 2) * min;
  }
  const { values, bytes } = FORMATS[format];
  return Float64Array.from({ length: (raw.length / bytes) * values }, (_, i) => value[format](Math.floor(i / values) * bytes, i % values));
}

interface Sizes {
  readonly format: Format;
  readonly shape: readonly number[];
  readonly packing: Packing;
  /** How many scales. */
  readonly scales?: number;
  readonly rank?: number;
}

/** Bytes that no file would have otherwise: of values in ±1, or drawn themselves, without a NaN. */
function storedBytesOf({ format, shape }: Sizes): Uint8Array {
  const values = drawn(elements(shape), elements(shape));
  const words = new Uint32Array(values.buffer);
  if (format === "f32") return new Uint8Array(values.buffer);
  if (format === "bf16") return new Uint8Array(Uint16Array.from(words, (word) => word >>> 16).buffer);
  const bytes = Uint8Array.from({ length: storedBytes({ shape, format }) }, (_, i) => (Math.imul(i + 1, 0x9e3779b1) >>> 13) & 0xff);
  // Scales are f16: exponents below infinity's, and of either sign.
  const scales: Partial<Record<Format, readonly number[]>> = { q8_0: [0], q4_0: [0], q5_0: [0], q4_k: [0, 2], q5_k: [0, 2], q6_k: [208] };
  for (let at = 0; at < bytes.length; at += FORMATS[format].bytes) for (const scale of scales[format] ?? []) bytes[at + scale + 1]! &= 0xbb;
  if (format === "f16") for (let i = 1; i < bytes.length; i += 2) bytes[i]! &= 0xbb;
  if (format === "e4m3") for (let i = 0; i < bytes.length; i++) bytes[i]! &= 0xf7;
  return bytes;
}

const words = (bytes: Uint8Array): Uint32Array => {
  const padded = new Uint8Array(padTo(bytes.length, 4));
  padded.set(bytes);
  return new Uint32Array(padded.buffer);
};

export function unpackReference(sizes: Sizes, { scale, up, down }: Values): Float64Array {
  const { format, shape, packing, rank = 0 } = sizes;
  const [out, inner, ...kernel] = shape.length > 1 ? (shape as [number, number, ...number[]]) : [1, shape[0]!];
  const taps = elements(kernel);
  const values = storedValues(format, storedBytesOf(sizes));
  if (packing === "q8") return q8Words(sizes);
  const packed = new Float64Array(padTo(packedElements(shape, packing), 8));
  const padded = padTo(inner, packing === "row" ? 8 : 4);
  for (let o = 0; o < out; o++)
    for (let i = 0; i < inner; i++)
      for (let tap = 0; tap < taps; tap++) {
        const from = (o * inner + i) * taps + tap;
        let value = values[from]! * (scale ? scale[scale.length > 1 ? o : 0]! : 1);
        for (let r = 0; r < rank; r++) value += up![r * padTo(out, 4) + o]! * down![r * padTo(inner, 4) + i]!;
        const at =
          packing === "panel"
            ? ((Math.floor(o / 16) * taps + tap) * padded + i) * 16 + (o % 16)
            : packing === "row"
              ? (o * taps + tap) * padded + i
              : from;
        packed[at] = value;
      }
  return packed;
}

/** Words of 8-bit panels, as the packing is defined (src/graph/packing.ts). */
function q8Words(sizes: Sizes): Float64Array {
  const { shape } = sizes;
  const [out, inner] = shape as [number, number];
  const raw = storedBytesOf(sizes);
  const packed = new DataView(new ArrayBuffer(padTo(packedBytes(shape, "q8", "f32"), 32)));
  const blocks = inner / 32;
  for (let o = 0; o < out; o++)
    for (let block = 0; block < blocks; block++) {
      const from = raw.subarray((o * blocks + block) * 34, (o * blocks + block + 1) * 34);
      const to = (Math.floor(o / 16) * blocks + block) * 576 + 4 * (o % 16);
      for (let k = 0; k < 32; k++) packed.setUint8(to + 64 * (k >> 2) + (k & 3), from[2 + k]!);
      packed.setFloat32(to + 512, floating(from[0]! + 256 * from[1]!, 10, 5, 15), true);
    }
  // As words are read: in f32, which rounds them.
  return Float64Array.from({ length: packed.byteLength / 4 }, (_, i) => Math.fround(packed.getUint32(4 * i, true)));
}

/** Whole panels have a kernel of their own, and what is left of the rows goes by another. */
function kernelsOf({ format, shape, packing, scales, rank }: Sizes): Kernel[] {
  if (packing === "q8") return [unpackQ8 as Kernel];
  if (/^q\d_k$/.test(format)) return [unpackSuperBlocks as Kernel];
  if (/^q\d_0$/.test(format)) return [unpackBlocks as Kernel];
  const [out = 1, inner = 1, ...kernel] = shape;
  const vectors =
    format !== "e4m3" && packing === "panel" && !scales && !rank && kernel.length === 0 && inner % (format === "f32" ? 4 : 8) === 0;
  const whole = vectors && out >= 16;
  return [...(whole ? [unpackPanels as Kernel] : []), ...(whole && out % 16 === 0 ? [] : [unpackPlain as Kernel])];
}
/** Those with a change, which is a product of its own. */
const changed = new Set<OpCase>();
const kernels = new Map<OpCase, readonly Kernel[]>();

function one(size: Size, sizes: Sizes, limits?: OpCase["limits"]): OpCase {
  const { format, shape, packing, scales, rank } = sizes;
  const made: OpCase = {
    size,
    name:
      `${format} [${shape.join(", ")}], ${packing}${scales ? `, ${scales === 1 ? "a scale" : "scales"}` : ""}` +
      `${rank ? `, a change of rank ${rank}` : ""}${limits ? ", in windows" : ""}`,
    half: packing === "q8" ? [] : ["y"],
    ...(limits ? { limits } : {}),
    // Sums and products of three in f32 are rounded.
    ...(rank || scales || format.endsWith("_k") ? { tolerance: { f32: 1e-6, f16: 1e-3 } } : {}),
    record(draw) {
      const [out, inner] = [padTo(shape[0]!, 4), padTo(shape[1] ?? 1, 4)];
      const x = draw.rows("x", words(storedBytesOf(sizes)));
      const scale = scales ? { scale: draw.input32("scale", [scales]) } : {};
      const change = rank ? { change: { up: draw.input32("up", [rank, out]), down: draw.input32("down", [rank, inner]) } } : {};
      return { y: unpack(x, { format, shape, packing, dtype: draw.type("y"), ...scale, ...change }) };
    },
    reference: (values) => ({ y: unpackReference(sizes, values) }),
  };
  kernels.set(made, kernelsOf(sizes));
  if (rank) changed.add(made);
  return made;
}

const listed = (kernel: Kernel): ListedKernel[] =>
  oneKernel(kernel).map((choice) => ({ ...choice, takes: (c: OpCase) => kernels.get(c)!.includes(kernel) }));

export const unpackCases: OpCases = {
  op: "unpack",
  kernels: [
    ...[unpackPlain, unpackPanels, unpackBlocks, unpackSuperBlocks, unpackQ8].flatMap((kernel) => listed(kernel as Kernel)),
    gpuKernel(lowRankProduct as Kernel, { takes: (c) => changed.has(c) }),
    cpuKernel(matmulTnOctet as Kernel, { needs: eightLanes, takes: (c) => changed.has(c) }),
    cpuKernel(matmulTnQuad as Kernel, { needs: fewerLanes, takes: (c) => changed.has(c) }),
  ],
  // What is exact in f32 is; f16 is rounded once.
  tolerance: { f32: 0, f16: 1e-3 },
  cases: [
    one("tiny", { format: "f16", shape: [1, 1], packing: "panel" }),
    one("odd", { format: "f32", shape: [35, 7], packing: "panel" }),
    one("odd", { format: "f16", shape: [50, 20], packing: "row" }),
    one("odd", { format: "f32", shape: [35, 12], packing: "panel" }),
    one("odd", { format: "f16", shape: [67, 24], packing: "panel" }),
    one("odd", { format: "bf16", shape: [48, 40], packing: "panel" }),
    one("odd", { format: "bf16", shape: [19, 5, 3, 2, 3], packing: "panel" }),
    one("odd", { format: "bf16", shape: [9, 7], packing: "natural" }),
    one("odd", { format: "e4m3", shape: [37, 21], packing: "panel" }),
    one("odd", { format: "e4m3", shape: [37, 32], packing: "row", scales: 37 }),
    one("odd", { format: "f32", shape: [67], packing: "vector", scales: 1 }),
    one("odd", { format: "f16", shape: [39, 22], packing: "panel", rank: 3 }),
    one("odd", { format: "bf16", shape: [39, 22], packing: "row", rank: 5 }),
    one("odd", { format: "bf16", shape: [3, 7], packing: "vector", rank: 1 }),
    one("odd", { format: "f32", shape: [150, 101], packing: "panel", rank: 6 }, { maxBindingBytes: 16384, maxGrid: 7 }),
    one("odd", { format: "f16", shape: [70, 101], packing: "natural", rank: 9 }, { maxBindingBytes: 16384, maxGrid: 7 }),
    one("odd", { format: "bf16", shape: [150, 104], packing: "panel" }, { maxBindingBytes: 16384, maxGrid: 7 }),
    one("odd", { format: "f32", shape: [150, 101], packing: "natural" }, { maxBindingBytes: 16384, maxGrid: 7 }),
    one("odd", { format: "q8_0", shape: [35, 96], packing: "panel" }),
    one("odd", { format: "q8_0", shape: [19, 8, 3, 2, 2], packing: "panel" }),
    one("odd", { format: "q8_0", shape: [96], packing: "vector" }),
    one("odd", { format: "q8_0", shape: [35, 96], packing: "q8" }),
    one("odd", { format: "q8_0", shape: [70, 64], packing: "q8" }, { maxBindingBytes: 2048, maxGrid: 1 }),
    one("odd", { format: "q4_0", shape: [35, 96], packing: "panel" }),
    one("odd", { format: "q4_0", shape: [35, 96], packing: "row", rank: 3 }),
    one("odd", { format: "q5_0", shape: [35, 96], packing: "panel" }),
    one("odd", { format: "q5_0", shape: [9, 32], packing: "natural" }),
    one("odd", { format: "q4_k", shape: [19, 512], packing: "panel" }),
    one("odd", { format: "q5_k", shape: [19, 512], packing: "panel" }),
    one("odd", { format: "q6_k", shape: [19, 512], packing: "panel" }),
    one("odd", { format: "q6_k", shape: [3, 256], packing: "row" }),
    one("odd", { format: "q5_k", shape: [70, 256], packing: "panel", rank: 2 }, { maxBindingBytes: 32768, maxGrid: 7 }),
    one("model", { format: "f16", shape: [1920, 1920], packing: "panel" }),
    one("model", { format: "bf16", shape: [1920, 1920], packing: "panel", rank: 64 }),
    one("model", { format: "q8_0", shape: [1920, 1920], packing: "panel" }),
    one("model", { format: "q8_0", shape: [1920, 1920], packing: "q8" }),
    one("model", { format: "q4_k", shape: [1024, 4096], packing: "panel" }),
  ],
};
