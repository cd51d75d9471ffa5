/** add_noise: rows of several clips in any order, widths that are no multiple of 4, windows. */
import { addNoise as kernel } from "#kernels";
import { addNoise } from "../../../ops/add_noise.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

/** @param clips of each row */
export function addNoiseReference(clips: readonly number[], { x, noise, table }: Values): Float64Array {
  const width = x!.length / clips.length;
  return Float64Array.from(x!, (v, i) => {
    const clip = clips[Math.floor(i / width)]!;
    return table![4 * clip]! * v + table![4 * clip + 1]! * noise![i]!;
  });
}

function one(size: Size, clips: readonly number[], width: number, limits?: OpCase["limits"]): OpCase {
  const count = Math.max(...clips) + 1;
  return {
    size,
    name: `[${clips.length}, ${width}] of ${count} clips${limits ? ", in windows" : ""}`,
    half: [],
    ...(limits ? { limits } : {}),
    record: (draw) => ({
      y: addNoise({
        x: draw.input("x", [clips.length, width]),
        noise: draw.input("noise", [clips.length, width]),
        rows: draw.rows("rows", Uint32Array.from(clips)),
        table: draw.input("table", [count, 4]),
      }),
    }),
    reference: (values) => ({ y: addNoiseReference(clips, values) }),
  };
}

const mixed = (rows: number, clips: number): number[] => Array.from({ length: rows }, (_, r) => (r * 7) % clips);

export const addNoiseCases: OpCases = {
  op: "add_noise",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-6 },
  cases: [
    one("tiny", [0], 4),
    one("odd", mixed(13, 3), 7),
    one("odd", mixed(200, 5), 100, { maxBindingBytes: 16384, maxGrid: 19 }),
    one("model", mixed(208, 1), 5400),
  ],
};
