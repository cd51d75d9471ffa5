/** What loading makes of a weight, by the definition of the layouts. */
import { packedElements, padTo, PANEL, type NumberPacking } from "../../src/graph/packing.ts";

/** f16 as raw bits. */
export type WeightValues = Float32Array | Uint16Array;
type Values = WeightValues | Uint32Array;

/** The layouts by their definition (packing.ts), element by element from the whole weight. */
export function packed<T extends Values>(data: T, shape: readonly number[], packing: NumberPacking): T {
  const out = new (data.constructor as new (n: number) => T)(packedElements(shape, packing));
  if (packing === "natural" || packing === "vector") {
    out.set(data);
    return out;
  }
  const [outs, inner, ...kernel] = shape as [number, number, ...number[]];
  const taps = kernel.reduce((a, b) => a * b, 1);
  const width = padTo(inner, packing === "row" ? 8 : 4);
  for (let o = 0; o < outs; o++)
    for (let i = 0; i < inner; i++)
      for (let tap = 0; tap < taps; tap++) {
        const at =
          packing === "row" ? (o * taps + tap) * width + i : ((Math.floor(o / PANEL) * taps + tap) * width + i) * PANEL + (o % PANEL);
        out[at] = data[(o * inner + i) * taps + tap]!;
      }
  return out;
}
