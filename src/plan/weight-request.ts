/** What a plan asks of a weight: which values, in which layout. */
import type { DType } from "../graph/dtype.ts";
import type { Packing } from "../graph/packing.ts";

/** A weight that a plan needs, in the shape and layout that its kernels read. */
export interface WeightRequest {
  readonly key: string;
  /** State-dict names; several are joined along their first axis. */
  readonly names: readonly string[];
  readonly shape: readonly number[];
  readonly packing: Packing;
  readonly dtype: DType;
  /** As it lies on the device. */
  readonly bytes: number;
}
