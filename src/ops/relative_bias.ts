/** relative_bias: T5's learned position bias, spread over every distance between a key and a query. Kernels: kernels/attention/. */
import { relativeBias as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { isFloat } from "../graph/dtype.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { assertRows } from "../graph/row-index.ts";

interface Inputs {
  table: Tensor;
  bucket: Tensor;
}

export interface RelativeBiasOptions {
  /** S: queries and keys are at 0 … S − 1. */
  length: number;
  /** Distances from here on share the last bucket. */
  maxDistance: number;
}

/** table [buckets, N] → [N, 2S − 1] f32, indexed by key − query + S − 1. */
export function relativeBias(table: Tensor, { length, maxDistance }: RelativeBiasOptions): Tensor {
  const bucket = table.graph.constant("relative_bias.bucket", relativeBuckets(length, table.dim(0), maxDistance));
  return table.graph.record(relativeBiasOp, { table, bucket }, {}).y;
}

/**
 * The bucket of each distance key − query from −(S − 1) to S − 1, bidirectional: half of the buckets for each side; of
 * these half count single steps and half grow logarithmically up to `maxDistance`.
 * In float32 like the reference (transformers' T5Attention._relative_position_bucket), so that the borders agree.
 */
export function relativeBuckets(length: number, buckets: number, maxDistance: number): Uint32Array {
  const half = Math.floor(buckets / 2);
  const exact = Math.floor(half / 2);
  const f = Math.fround;
  const scale = f(Math.log(maxDistance / exact));
  return Uint32Array.from({ length: 2 * length - 1 }, (_, i) => {
    const distance = Math.abs(i - (length - 1));
    const side = i > length - 1 ? half : 0;
    if (distance < exact) return side + distance;
    const large = exact + Math.trunc(f(f(f(Math.log(f(distance / exact))) / scale) * (half - exact)));
    return side + Math.min(large, half - 1);
  });
}

export const relativeBiasOp: Op<Inputs, object, "y"> = {
  name: "relative_bias",
  infer({ table, bucket }) {
    if (table.shape.length !== 2 || !isFloat(table))
      throw new CogwheelError("relative_bias", `the table must be [buckets, heads] in f32 or f16, got ${table}; check the weight's name`);
    if (bucket.dtype !== "u32")
      throw new CogwheelError("relative_bias", `buckets must be u32, got ${bucket}; make them with relativeBuckets`);
    assertRows("relative_bias", "the table", bucket, table.dim(0));
    return { y: { shape: [table.dim(1), bucket.size], dtype: "f32" } };
  },
  cost({ inputs: { table, bucket }, outputs: { y } }) {
    return { flops: 0, bytes: table.bytes + bucket.bytes + y.bytes };
  },
  lower({ inputs: { table, bucket }, outputs: { y } }, { caps }) {
    return [
      dispatch({
        kernel,
        types: { T: table.dtype },
        params: { heads: table.dim(1), distances: bucket.size },
        bindings: { table, bucket, y },
        grid: foldGrid(Math.ceil(y.size / 64), caps),
      }),
    ];
  },
};
