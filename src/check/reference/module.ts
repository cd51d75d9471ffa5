/** What a reference case asks for and what a module gives back; `docs` has the file format. */
import type { Gpu } from "../../gpu/gpu.ts";
import type { DType } from "../../graph/dtype.ts";
import type { RunOptions } from "../../run/program.ts";
import type { WeightProvider } from "../../run/weight-store.ts";
import type { Guide } from "./trace/tracer.ts";

/** A tensor in the reference implementation's layout. Integers are widened to f32. */
export interface HostTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
  /** The file has it as integers: a result must then be equal. */
  readonly integer?: boolean;
}

export interface ReferenceCase {
  readonly name: string;
  readonly module: string;
  readonly config: Record<string, unknown>;
  readonly options: Record<string, unknown>;
  readonly source: string;
  readonly inputs: ReadonlyMap<string, HostTensor>;
  readonly outputs: ReadonlyMap<string, HostTensor>;
  readonly weights: ReadonlyMap<string, HostTensor>;
  /** Of a pipeline, [steps, …]: what the scheduler gave in each step. */
  readonly steps: ReadonlyMap<string, HostTensor>;
  /** What the reference's submodules gave: `<call>.<module path>` → tensor. Empty unless it was asked for. */
  readonly trace: ReadonlyMap<string, HostTensor>;
  /** LoRA adapters, in order: state-dict name → tensor. */
  readonly loras: readonly ReadonlyMap<string, HostTensor>[];
}

export interface ModuleContext {
  readonly gpu: Gpu;
  /** Storage type of weights and activations. */
  readonly dtype: "f32" | "f16";
  readonly checkFinite: boolean;
  /** Hand to a run what this gives, and its nodes are held against the reference's modules; a module that calls it can be traced. */
  follow(guide: Guide): Pick<RunOptions, "observe">;
  /** The case's weights, stored as `dtype` (vectors f32), under names that start with `prefix`. */
  weights(prefix?: string): WeightProvider & { shape(name: string): readonly number[] | undefined; names(): string[] };
}

/** Runs one module of the format on the engine; returns its outputs by the format's names, and `step.<name>` for what is in `steps`. */
export type ReferenceModule = (c: ReferenceCase, context: ModuleContext) => Promise<Record<string, HostTensor>>;

export type { DType };
