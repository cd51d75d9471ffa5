/** What a module of the reference is, to the engine: a case goes in, tensors by the format's names come out. */
import type { Gpu } from "../../gpu/gpu.ts";
import type { RunOptions } from "../../run/program.ts";
import type { WeightProvider } from "../../run/weight-provider.ts";
import type { HostTensor, ReferenceCase } from "./reference-case.ts";
import type { Guide } from "./trace/tracer.ts";

export interface ModuleContext {
  readonly gpu: Gpu;
  /** Storage type of weights and activations. */
  readonly dtype: "f32" | "f16";
  readonly checkFinite: boolean;
  /** Hand to a run what this gives, and its nodes are held against the reference's modules; a module that calls it can be traced. */
  follow(guide: Guide): Pick<RunOptions, "observe">;
  /** The case's weights, stored as `dtype` (vectors f32), under names that start with `prefix`. */
  weights(prefix?: string): WeightProvider & {
    shape(name: string): readonly number[] | undefined;
    names(): string[];
    values(name: string): Float32Array;
  };
}

/** Runs one module of the format on the engine; returns its outputs by the format's names, and `step.<name>` for what is in `steps`. */
export type ReferenceModule = (c: ReferenceCase, context: ModuleContext) => Promise<Record<string, HostTensor>>;
