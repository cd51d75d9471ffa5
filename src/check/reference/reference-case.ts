/** A reference case, as its file holds it (docs/reference-format.md). */

/** A tensor in the reference implementation's layout. Integers are widened to f32. */
export interface HostTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
  /** The file has it as integers: a result must then be equal. */
  readonly integer?: boolean;
}

/** A recorded case: a module, what went into it, and what the reference gave. */
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
  /** Gradients of a scalar with respect to outputs, by their names. */
  readonly cotangents: ReadonlyMap<string, HostTensor>;
  /** Gradients of that scalar, by `input.<argument>`, `weight.<state-dict name>` and `lora.<i>.<name>`. */
  readonly gradients: ReadonlyMap<string, HostTensor>;
  /** What the reference's submodules gave: `<call>.<module path>` → tensor. Empty unless it was asked for. */
  readonly trace: ReadonlyMap<string, HostTensor>;
  /** LoRA adapters, in order: state-dict name → tensor. */
  readonly loras: readonly ReadonlyMap<string, HostTensor>[];
}
