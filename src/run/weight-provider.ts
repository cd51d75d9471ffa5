/** Where weights come from: a checkpoint's component, or the tensors of a reference case. */
import { CogwheelError } from "../base/errors.ts";
import { elements, type DType } from "../graph/dtype.ts";
import type { StoredWeight } from "../graph/stored.ts";
import type { LossCount } from "./loss-counters.ts";

/** Where weights come from, by their names: a component of a checkpoint, or values in memory. */
export interface WeightProvider {
  /** In which type a weight is to lie on the GPU. */
  type(name: string): DType;
  /** A weight as it is stored. What it must be to be of that type happens on the way to the device. Throws where there is none. */
  stored(name: string): StoredWeight;
  /** Says which weights will be read as a whole before long, in which order; until the signal says that it is over. */
  prefetch?(names: readonly string[], signal: AbortSignal): void;
  /** What is added to a weight on that way, before it is rounded; none where it stays as it is. */
  changes?(name: string): readonly WeightChange[];
  /**
   * Is told what f16 lost of weights that `type` called f16, once they are loaded, and says which of them do not fit it; `type` calls
   * those f32 from then on. Nothing is counted for a provider without it.
   */
  judge?(losses: ReadonlyMap<string, LossCount>): readonly string[];
}

/** A provider's own methods, for another one to take over: one that is a class has them where a spread does not find them. */
export const providerOf = (provider: WeightProvider): WeightProvider => ({
  type: (name) => provider.type(name),
  stored: (name) => provider.stored(name),
  ...(provider.prefetch ? { prefetch: (...what) => provider.prefetch!(...what) } : {}),
  ...(provider.changes ? { changes: (name) => provider.changes!(name) } : {}),
  ...(provider.judge ? { judge: (losses) => provider.judge!(losses) } : {}),
});

/** A low-rank change of a matrix: factor · up · down is added to it. */
export interface WeightChange {
  /** [out, rank] */
  readonly up: Float32Array;
  /** [rank, in] */
  readonly down: Float32Array;
  readonly rank: number;
  readonly factor: number;
}

/** Values in memory as a stored weight; f16 as raw bits. @param shape left out, rows are whatever the graph takes them for */
export function storedValues(label: string, data: Float32Array | Uint16Array, shape: readonly number[] = [data.length]): StoredWeight {
  if (data.length !== elements(shape))
    throw new CogwheelError(
      "weights",
      `values must fill their shape, got ${data.length} for ${label} [${shape.join(", ")}]; correct either`,
    );
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return {
    label,
    shape,
    format: data instanceof Uint16Array ? "f16" : "f32",
    read: async (start, into) => into.set(bytes.subarray(start, start + into.length)),
  };
}
