/** Where weights come from: a checkpoint's component, or the tensors of a reference case. */
import type { DType } from "../graph/dtype.ts";
import type { WeightValues } from "../graph/packing.ts";

export interface WeightProvider {
  /** In which type a weight is stored on the GPU. */
  type(name: string): DType;
  /** The weight's values, row-major as in the checkpoint; f16 as raw bits. */
  read(name: string, dtype: DType, signal?: AbortSignal): Promise<WeightValues>;
  /** As `read`, in parts one after another, so that no weight need be on the host as a whole; each is good until the next is asked for. */
  parts?(name: string, dtype: DType, signal?: AbortSignal): AsyncIterable<WeightValues>;
}

/** A weight in parts, from any provider. */
export async function* weightParts(
  provider: WeightProvider,
  name: string,
  dtype: DType,
  signal?: AbortSignal,
): AsyncGenerator<WeightValues> {
  if (provider.parts) yield* provider.parts(name, dtype, signal);
  else yield await provider.read(name, dtype, signal);
}
