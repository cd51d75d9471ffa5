/** The dispatches that quantize a weight's values, as they are stored, to blocks on the device: windows that an adapter can bind. */
import { quantizeBlocks } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import type { Kernel } from "../gpu/kernel.ts";
import { padTo } from "../graph/packing.ts";
import { FORMATS, type Format } from "../graph/stored.ts";
import { foldGrid } from "./dispatch.ts";
import type { UnpackDispatch } from "./unpacking.ts";

/** What the device quantizes from, and to. */
export const QUANTIZED_FROM = ["f32", "f16", "bf16"] as const;
export type QuantizedFrom = (typeof QUANTIZED_FROM)[number];
export type QuantizedTo = "q8_0" | "q4_0";

export const isQuantizedFrom = (format: Format): format is QuantizedFrom => (QUANTIZED_FROM as readonly Format[]).includes(format);

export const isQuantizedTo = (format: Format): format is QuantizedTo => format === "q8_0" || format === "q4_0";

export interface Quantizing {
  readonly from: QuantizedFrom;
  readonly to: QuantizedTo;
  readonly blocks: number;
  /** Bytes of their buffers that the values and the blocks begin at, multiples of 4. */
  readonly at: { readonly x: number; readonly y: number };
}

/** Of both formats, so many blocks begin at a multiple of 256 bytes. */
const UNIT = 128;
const THREADS = 64;

export function quantizeDispatches({ from, to, blocks, at }: Quantizing, caps: Capabilities): UnpackDispatch[] {
  if (at.x % 4 || at.y % 4)
    throw new CogwheelError("weights", `values and blocks must begin at multiples of 4 bytes, got ${at.x} and ${at.y}; align them`);
  const [read, written] = [32 * FORMATS[from].bytes, FORMATS[to].bytes];
  const most = Math.max(UNIT, Math.floor((caps.maxBindingBytes - 512) / read / UNIT) * UNIT);
  const windows = Array.from({ length: Math.ceil(blocks / most) }, (_, i) => ({
    start: i * most,
    count: Math.min(most, blocks - i * most),
  }));
  const bound = (begin: number, bytes: number) => {
    const rest = begin % 256;
    return { rest, offset: begin - rest, bytes: padTo(rest + bytes, 4) };
  };
  return windows.map(({ start, count }) => {
    const [x, y] = [bound(at.x + start * read, count * read), bound(at.y + start * written, count * written)];
    return {
      kernel: quantizeBlocks as Kernel,
      consts: { FROM: QUANTIZED_FROM.indexOf(from), FOUR: +(to === "q4_0") },
      params: { blocks: count, x_word: x.rest / 4, y_word: y.rest / 4, every: 0xffffffff },
      grid: foldGrid(Math.ceil(count / (2 * THREADS)), caps),
      x: { offset: x.offset, bytes: x.bytes },
      y: { offset: y.offset, bytes: y.bytes },
      change: 0,
    };
  });
}
