/**
 * A model family as the rest of the program knows it. One is a folder in `models/` (its networks), a folder here (what is done with
 * them) and a line in `families.ts`; what checks and measures the published models goes by that list.
 */
import type { Gpu } from "../gpu/gpu.ts";
import type { Graph } from "../graph/graph.ts";
import type { WeightProvider } from "../run/weight-provider.ts";
import type { LoraTensor } from "../models/lora/merge.ts";

/** One folder of a family's checkpoints. What stands only in files that others read (a tokenizer) has none of these. */
export interface ComponentKind<C = unknown> {
  /** The config of its file, or an error that names all that this engine cannot run. */
  parse?(json: unknown, where?: string): C;
  /** The keys of a config that nothing here knows. */
  judge?(json: Record<string, unknown>): { readonly unknown: readonly string[] };
  /** Every weight by its published name, with its shape; of a component that works in several parts, those that `parts` need. */
  weights?(config: C, parts?: readonly ("encode" | "decode")[]): ReadonlyMap<string, readonly number[]>;
}

/** A graph of published models. */
export interface PublishedGraph {
  /** A folder of their checkpoints. */
  readonly component: string;
  /** The models that have it, by their published names. */
  readonly models: readonly string[];
  readonly graph: Graph;
}

export interface Family {
  /**
   * The published models' graphs at their published widths, with one layer, few frames and few rows: the kernels that are chosen for them
   * must have been swept. `dtype` is that of activations.
   */
  readonly published: (dtype: "f32" | "f16", weights: Pick<WeightProvider, "type">) => Iterable<PublishedGraph>;
  /** The classes of the reference implementation whose recorded runs `replay` repeats: modules of `validate`. */
  readonly recorded: readonly string[];
  readonly replay: (recorded: RecordedRun, on: ReplayTarget) => Promise<ReplayedRun>;
}

/** A tensor of a recording, in the layout of the reference implementation. */
export interface Recorded {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** A generation that another implementation recorded, past its tokenizer and text encoder. */
export interface RecordedRun {
  /** What errors call it. */
  readonly name: string;
  /** Of the pipeline, among the family's. */
  readonly className: string;
  /** The config of a component; throws when there is none. */
  readonly config: (component: string) => Record<string, unknown>;
  /** An option by diffusers' name; throws when it is of another type than what stands for it where it is missing. */
  readonly option: <T extends number | boolean>(name: string, missing: T) => T extends number ? number : boolean;
  /** An input by diffusers' name, with so many axes; throws when it is missing. */
  readonly input: (name: string, axes?: number) => Recorded;
  /** Adapters on the transformer, with their scales. */
  readonly loras: readonly { readonly tensors: ReadonlyMap<string, LoraTensor>; readonly label: string; readonly scale: number }[];
  /**
   * What the sampler gave in each step, [steps, …], by name: each step is then run by
   * itself too, from what the reference had before it.
   */
  readonly steps: ReadonlyMap<string, Recorded>;
  /** The weights of a component. */
  readonly weights: (component: string) => WeightProvider & { shape(name: string): readonly number[] | undefined };
}

/** What a recording is run on. */
export interface ReplayTarget {
  readonly gpu: Gpu;
  readonly dtype: "f32" | "f16";
  readonly checkFinite: boolean;
}

export interface ReplayedRun {
  readonly latents: Recorded;
  /** [B, T, 3, H, W] in 0…1 */
  readonly frames: Recorded;
  /** What each step gave that was begun from the reference's state, [steps, …]; empty without `steps`. */
  readonly steps: Readonly<Record<string, Recorded>>;
}
