/**
 * What a case list says: `cases/` holds one an op, in a file of the op's name, with the op's reference in float64. The op's test runs the
 * tiny and the odd cases (of matmul, attention and conv3d, whose kernels take seconds to compile, the reference alone), the sweep all,
 * and the bench times those of size model. A case records the op on tensors that it draws, and says what must come out.
 */
import type { Capabilities, CapabilityOverrides } from "../../gpu/capabilities.ts";
import type { Kernel } from "../../gpu/kernel.ts";
import type { Tensor } from "../../graph/tensor.ts";
import type { Draw, Precision, Values } from "./draw.ts";

/** tiny: the least there is · odd: tails of every tile · model: the widths of published models, few rows. */
export type Size = "tiny" | "odd" | "model";

export interface OpCase {
  readonly size: Size;
  /** Shapes and switches, unique in its list. */
  readonly name: string;
  /** Tensors that are f16 with f16 storage, by their drawn names; `y` is the result. Default: all that `record` asks about. */
  readonly half?: readonly string[];
  /** The candidate (its label) that a table names for this case, where it is one that only a measurement takes. */
  readonly variant?: string;
  /** Limits that this case pretends to have: windows and folded grids on small tensors. */
  readonly limits?: CapabilityOverrides;
  /** Relative L2 where the list's does not do; say why in a comment. */
  readonly tolerance?: Readonly<Record<Precision, number>>;
  record(draw: Draw): Record<string, Tensor>;
  /** Every output, in float64 (plain numbers), in the layout of the engine. */
  reference(values: Values): Record<string, ArrayLike<number>>;
}

/** A kernel of an op, and what must hold for the engine to choose it. */
export interface ListedKernel {
  readonly kernel: Kernel;
  /** Capabilities under which the op's chooser takes it; whatever is not named is the adapter's own. */
  readonly when: CapabilityOverrides;
  /** What the adapter lacks to run it, such as `subgroups`; nothing where it can. */
  needs?(caps: Capabilities): string | undefined;
  /** Does it take this case? Default: all. */
  takes?(c: OpCase, caps: Capabilities, precision: Precision): boolean;
}

export interface OpCases {
  readonly op: string;
  readonly kernels: readonly ListedKernel[];
  /** Largest relative L2 of an output. */
  readonly tolerance: Readonly<Record<Precision, number>>;
  readonly cases: readonly OpCase[];
}
