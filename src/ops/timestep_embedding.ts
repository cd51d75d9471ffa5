/** timestep_embedding: the sinusoidal embedding of a timestep. Kernels: kernels/embed/. */
import { timestepEmbedding as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";

interface Inputs {
  t: Tensor;
  frequencies: Tensor;
}
interface Attrs {
  dim: number;
  cosFirst: boolean;
}

export interface TimestepEmbeddingOptions {
  /** Columns of the result. */
  dim: number;
  /** cos before sin; diffusers' `flip_sin_to_cos`. */
  flipSinToCos: boolean;
  /** diffusers' `downscale_freq_shift`. */
  freqShift: number;
}

/** t [B] f32 → [B, dim] f32. */
export function timestepEmbedding(t: Tensor, { dim, flipSinToCos, freqShift }: TimestepEmbeddingOptions): Tensor {
  const half = Math.floor(dim / 2);
  // In float32 step by step, as the reference has them: t is as large as 999, so a frequency's last bit shows.
  const frequencies = Float32Array.from({ length: half }, (_, i) =>
    Math.exp(Math.fround(Math.fround(Math.fround(-Math.log(10000)) * i) / Math.fround(half - freqShift))),
  );
  return t.graph.record(
    timestepEmbeddingOp,
    { t, frequencies: t.graph.constant("frequencies", frequencies) },
    { dim, cosFirst: flipSinToCos },
  ).y;
}

export const timestepEmbeddingOp: Op<Inputs, Attrs, "y"> = {
  name: "timestep_embedding",
  infer({ t }, { dim }) {
    if (t.dtype !== "f32" || t.shape.length !== 1) throw new CogwheelError("timestep_embedding", `timesteps must be f32 [B], got ${t}`);
    if (dim % 4) throw new CogwheelError("timestep_embedding", `the width must be a multiple of 4, got ${dim}`);
    return { y: { shape: [t.size, dim], dtype: "f32" } };
  },
  cost: ({ outputs: { y } }) => ({ flops: 20 * y.size, bytes: y.bytes }),
  lower({ inputs: { t, frequencies }, attrs, outputs: { y } }, { caps }) {
    return [
      dispatch({
        kernel,
        consts: { COS_FIRST: +attrs.cosFirst },
        params: { batch: t.size, d: attrs.dim },
        bindings: { t, frequencies, y },
        grid: foldGrid(Math.ceil(y.size / 64), caps),
      }),
    ];
  },
};
