/** A case as this engine has recorded it. */
import type { Capabilities } from "../../src/gpu/capabilities.ts";
import type { Graph } from "../../src/graph/graph.ts";
import type { Plan } from "../../src/plan/compile.ts";
import type { WeightProvider } from "../../src/run/weight-provider.ts";

export interface Built {
  /** How it is planned, where not as any graph is. */
  readonly plan?: (caps: Capabilities) => Plan;
  /** With the output `y`, or another as its first. */
  readonly graph: Graph;
  readonly inputs: Record<string, Float32Array | Uint16Array | Uint32Array>;
  /** Where weights are not what the case draws. */
  readonly provider?: WeightProvider;
  /** What must come out, where the case itself cannot say. */
  readonly want?: () => ArrayLike<number>;
  /** The result in the reference's layout. */
  readonly read?: (y: Float32Array) => Float32Array;
}
