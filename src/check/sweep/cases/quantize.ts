/** quantize: every type that weights are stored in, to blocks of 8 and of 4 bits. The bytes are compared as words. */
import { quantizeBlocks } from "#kernels";
import { toFloat16, toFloat32 } from "../../../files/convert.ts";
import { quantize as onHost } from "../../../files/quantize.ts";
import type { Kernel } from "../../../gpu/kernel.ts";
import { padTo } from "../../../graph/packing.ts";
import { quantize } from "../../../ops/quantize.ts";
import { QUANTIZED_FROM, type QuantizedFrom, type QuantizedTo } from "../../../plan/quantize-weight.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import { drawn } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

/** Values of several magnitudes, as they are stored: a block of zeros, and values in the middle between two steps. */
function stored(from: QuantizedFrom, count: number): Uint8Array<ArrayBuffer> {
  const values = drawn(count, count).map((v, i) => {
    const block = i >> 5;
    return block % 7 === 3 ? 0 : block % 7 === 5 ? (i % 32 === 1 ? -127 : (i % 32) + 0.5) / 64 : v * 2 ** -(block % 11);
  });
  const bytes = new Uint8Array(values.buffer);
  if (from === "f32") return bytes;
  if (from === "f16") return new Uint8Array(toFloat16(bytes, "F32").slice().buffer);
  return new Uint8Array(Uint16Array.from(new Uint32Array(values.buffer), (word) => word >>> 16).buffer);
}

const NAMES = { f32: "F32", f16: "F16", bf16: "BF16" } as const;

/** The words of the blocks that the host makes, as words are read: in f32, which rounds them. */
export function quantizeReference(values: Uint8Array<ArrayBuffer>, from: QuantizedFrom, to: QuantizedTo): Float64Array {
  const blocks = onHost(toFloat32(values, NAMES[from]), to);
  const padded = new Uint8Array(padTo(blocks.length, 4));
  padded.set(blocks);
  return Float64Array.from(new Uint32Array(padded.buffer), Math.fround);
}

function one(size: Size, from: QuantizedFrom, to: QuantizedTo, count: number, limits?: OpCase["limits"]): OpCase {
  const values = () => stored(from, count);
  return {
    size,
    name: `${count} of ${from} to ${to}${limits ? ", in windows" : ""}`,
    half: [],
    ...(limits ? { limits } : {}),
    record: (draw) => ({ y: quantize(draw.rows("x", new Uint32Array(values().buffer)), { from, to, count }) }),
    reference: () => ({ y: quantizeReference(values(), from, to) }),
  };
}

export const quantizeCases: OpCases = {
  op: "quantize",
  kernels: oneKernel(quantizeBlocks as Kernel),
  tolerance: { f32: 0, f16: 0 },
  cases: (["q8_0", "q4_0"] as const).flatMap((to) => [
    one("tiny", "f32", to, 32),
    ...QUANTIZED_FROM.flatMap((from) => [
      one("odd", from, to, 32 * 371),
      one("odd", from, to, 32 * 700, { maxBindingBytes: 20_000, maxGrid: 2 }),
    ]),
    one("model", "bf16", to, 1920 * 1920),
  ]),
};
