/**
 * Weights that are quantized as they are read: another provider's matrices as ggml's blocks of 8 or 4 bits a value. What they are kept in
 * on the device is a matter of the plan (`asStored` of src/plan/compile.ts). A device makes them itself, of the weights' `plain`
 * (src/run/quantizer.ts); what is read here is the same to the byte.
 */
import { FORMATS, type Format, type StoredWeight } from "../graph/stored.ts";
import { toFloat32 } from "../files/convert.ts";
import { providerOf, type WeightProvider } from "../run/weight-provider.ts";

export type QuantizedFormat = "q8_0" | "q4_0";

/** Types of a plain file, as `toFloat32` calls them. */
const PLAIN = { f32: "F32", f16: "F16", bf16: "BF16" } as const;

/** Can a weight be quantized? Matrices can whose rows are whole blocks, and that are stored in 16 bits or more. */
export function isQuantizable(shape: readonly number[], stored: Format | undefined = "f32"): boolean {
  return shape.length === 2 && shape[1]! % 32 === 0 && stored in PLAIN;
}

/** Another provider's weights with those that can be quantized in this format. @param stays weights that are not, all the same */
export function quantizedWeights(base: WeightProvider, format: QuantizedFormat, stays: (name: string) => boolean): WeightProvider {
  return {
    ...providerOf(base),
    stored(name) {
      const weight = base.stored(name);
      return !stays(name) && isQuantizable(weight.shape, weight.format) && !weight.scale ? quantized(weight, format) : weight;
    },
  };
}

/** Values that are quantized at once. */
const AT_ONCE = 1 << 16;

function quantized(weight: StoredWeight, format: QuantizedFormat): StoredWeight {
  const { values, bytes } = FORMATS[format];
  const plain = weight.format as keyof typeof PLAIN;
  const width = FORMATS[plain].bytes;
  return {
    label: weight.label,
    shape: weight.shape,
    format,
    plain: weight,
    async read(start, into, signal) {
      const first = Math.floor(start / bytes);
      const end = Math.ceil((start + into.length) / bytes);
      const source = new Uint8Array((end - first) * values * width);
      await weight.read(first * values * width, source, signal);
      // A chunk of its own, which few need: a device makes blocks itself.
      const { quantize } = await import("../files/quantize.ts");
      for (let block = first; block < end; block += AT_ONCE / values) {
        const count = Math.min(AT_ONCE / values, end - block);
        const from = (block - first) * values * width;
        const made = quantize(toFloat32(source.subarray(from, from + count * values * width), PLAIN[plain]), format);
        // Of the first and the last block perhaps a part.
        const skipped = Math.max(0, start - block * bytes);
        const at = block * bytes + skipped - start;
        into.set(made.subarray(skipped, Math.min(made.length, skipped + into.length - at)), at);
      }
    },
  };
}
