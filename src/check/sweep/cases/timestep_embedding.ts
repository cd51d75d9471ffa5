/** timestep_embedding: first and last timesteps, both orders of sine and cosine. */
import { timestepEmbedding as kernel } from "#kernels";
import { timestepEmbedding } from "../../../ops/timestep_embedding.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import { oneKernel } from "../listed-kernels.ts";

export interface TimestepSizes {
  readonly steps: readonly number[];
  readonly dim: number;
  readonly flipSinToCos: boolean;
  readonly freqShift: number;
}

/** The frequencies in float32 step by step, as published implementations have them; sine and cosine exact. */
export function timestepEmbeddingReference({ steps, dim, flipSinToCos, freqShift }: TimestepSizes): Float64Array {
  const half = dim / 2;
  const out = new Float64Array(steps.length * dim);
  steps.forEach((step, b) => {
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(
        step * Math.fround(Math.exp(Math.fround(Math.fround(Math.fround(-Math.log(10000)) * i) / (half - freqShift)))),
      );
      out[b * dim + i] = flipSinToCos ? Math.cos(angle) : Math.sin(angle);
      out[b * dim + half + i] = flipSinToCos ? Math.sin(angle) : Math.cos(angle);
    }
  });
  return out;
}

function one(size: Size, sizes: TimestepSizes): OpCase {
  return {
    size,
    name: `${sizes.steps.length} × ${sizes.dim}, ${sizes.flipSinToCos ? "cos" : "sin"} first, shift ${sizes.freqShift}`,
    half: [],
    record: (draw) => ({ y: timestepEmbedding(draw.input32("t", [sizes.steps.length], { data: sizes.steps }), sizes) }),
    reference: () => ({ y: timestepEmbeddingReference(sizes) }),
  };
}

export const timestepEmbeddingCases: OpCases = {
  op: "timestep_embedding",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-6 },
  cases: [
    one("tiny", { steps: [999], dim: 4, flipSinToCos: true, freqShift: 0 }),
    one("odd", { steps: [0, 1, 19, 499, 979, 999], dim: 128, flipSinToCos: true, freqShift: 0 }),
    one("odd", { steps: [0, 1, 19, 499, 979, 999], dim: 132, flipSinToCos: false, freqShift: 1 }),
    one("model", { steps: [999, 979], dim: 1920, flipSinToCos: true, freqShift: 0 }),
    one("model", { steps: [2, 2], dim: 512, flipSinToCos: true, freqShift: 0 }),
  ],
};
