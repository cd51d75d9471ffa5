/** frame_similarity: windows below and above the number of frames, frames that are alike, opposite and all zeros. */
import { frameSimilarity as kernel } from "#kernels";
import { frameSimilarity } from "../../../ops/frame_similarity.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import { drawn, type Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

/** By the definition: vectors of length 1, and their products. */
export function frameSimilarityReference(frames: number, channels: number, window: number, { x }: Values): Float64Array {
  const unit = Array.from({ length: frames }, (_, t) => {
    const row = Float64Array.from(x!.subarray(t * channels, (t + 1) * channels));
    const length = Math.max(1e-12, Math.hypot(...row));
    return row.map((value) => value / length);
  });
  const columns = 4 * Math.ceil(window / 4);
  const y = new Float64Array(frames * columns);
  for (let t = 0; t < frames; t++)
    for (let j = 0; j < window; j++) {
      const other = unit[t + j - (window - 1) / 2];
      if (other) y[t * columns + j] = unit[t]!.reduce((sum, value, c) => sum + value * other[c]!, 0);
    }
  return y;
}

/** Frame 1 is all zeros, frame 2 against frame 0, and frame 3 is frame 0 again, larger. */
function frames(count: number, channels: number): Float32Array {
  const x = drawn(count * channels, 17);
  const row = (t: number): Float32Array => x.subarray(t * channels, (t + 1) * channels);
  if (count > 3) {
    row(1).fill(0);
    row(2).set(row(0).map((value) => -value));
    row(3).set(row(0).map((value) => 64 * value));
  }
  return x;
}

function one(size: Size, count: number, channels: number, window: number, limits?: OpCase["limits"]): OpCase {
  return {
    size,
    name: `${count} frames of ${channels}, ${window} around each${limits ? ", in a folded grid" : ""}`,
    ...(limits ? { limits } : {}),
    record: (draw) => ({ y: frameSimilarity(draw.input("x", [count, channels], { data: frames(count, channels) }), window) }),
    reference: (values) => ({ y: frameSimilarityReference(count, channels, window, values) }),
  };
}

export const frameSimilarityCases: OpCases = {
  op: "frame_similarity",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-6 },
  cases: [
    one("tiny", 1, 4, 1),
    one("odd", 7, 12, 3),
    one("odd", 9, 20, 101),
    one("odd", 67, 36, 21, { maxGrid: 7 }),
    one("model", 100, 128, 101),
    one("model", 100, 512, 101),
  ],
};
