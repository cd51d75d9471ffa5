/** What the public calls take. */
import type { HubOptions } from "../hub/id.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { TuningTable } from "../gpu/tuning-table.ts";
import type { ComponentInputs } from "./component-files.ts";
import type { OptionsOf } from "./options/option.ts";
import type { REQUESTS, RUNNING } from "./options/table.ts";
import type { Settings } from "./settings.ts";

export { checkNames, checkOptions } from "./options/check.ts";
export type { TilingMode } from "./options/table.ts";

/** What `CogVideoX.open` takes beside the checkpoint. */
export interface OpenOptions extends ComponentInputs {
  /** A device that is already open; it is not closed with the model. */
  gpu?: Gpu;
  /** An adapter by name, where no device is given. Default: the fastest there is. */
  adapter?: string;
  /**
   * Which kernels were measured to be fastest on this adapter, where no device is given (docs/tuning.md): a table, or false for the choice
   * by capability alone. Default: what `cogwheel tune` stored, in Node.
   */
  tuning?: TuningTable | false;
  /**
   * Storage type of weights and activations; sums are always f32. Default: f16 on GPUs that have it, f32 elsewhere. q8 and q4 quantize the
   * linear layers of the text encoder's and the transformer's blocks while they are loaded, to 8 or 4 bits a value (docs/numerics.md); all
   * else is as without it.
   */
  dtype?: "f32" | "f16" | "q8" | "q4";
  /** File-name variant of the weights, e.g. `fp16`. */
  variant?: string;
  /** Read the configs alone, for `requirements` and `tune`: such a model has no weights to generate with. Default false. */
  configsOnly?: boolean;
  /**
   * The components whose weights are there (`text_encoder`, `transformer`, `vae`); the configs of all must be. Such a model does the stages
   * that need no others. Default: all.
   */
  weightsOf?: readonly string[];
  /** How a repository on the hub is fetched: revision, token, cache, progress. */
  hub?: HubOptions;
  /**
   * Keep what was loaded on the adapter from one generation to the next: the text encoder, the transformer and the VAE together, where
   * else only one of them is there at a time. Adapters (`loras`) then come and go without reloading. Default false.
   */
  keep?: boolean;
  /**
   * Bytes of the adapter's memory that generations of this model may take where they are not told themselves. WebGPU does not tell how
   * much a GPU has, so an app that knows says it here. Default: what is free on adapters that run on the CPU, else no limit.
   */
  memoryBytes?: number;
  /** Things the user should know: keys of the configs that nobody here knows, a tuning table that does not hold here. */
  onWarning?: (message: string) => void;
}

/** What `generate` takes. Every option stands in the table of options/table.ts, with its own words. */
export interface GenerateOptions extends Partial<Settings>, OptionsOf<typeof REQUESTS>, OptionsOf<typeof RUNNING> {
  /** What to show. Must not be empty. */
  prompt: string;
}

/** The options that are set, without those that say `undefined`. */
export function defined<T extends object>(record: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(record).filter(([, v]) => v !== undefined)) as { [K in keyof T]?: Exclude<T[K], undefined> };
}
