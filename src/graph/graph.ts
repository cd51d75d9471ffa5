/**
 * A graph is data: nodes (op, inputs, attributes) over tensors (shape, dtype). Model code records one by calling the
 * functions of `ops/`; `compile.ts` chooses kernels for it and plans its memory; `program.ts` replays it.
 * Nothing here knows a GPU, so shapes, costs and memory can be asked of a model that the machine could not run.
 */
import { CogwheelError } from "../base/errors.ts";
import type { Dispatch, Target } from "../plan/dispatch.ts";
import { bytesOf, elements, isFloat, type DType } from "./dtype.ts";

export { bytesOf, elements, isFloat, type DType };

export interface TensorSpec {
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/**
 * input: given by the caller, kept between runs · weight: from the checkpoint · constant: known when recording ·
 * activation: placed by the memory plan · output: an activation that outlives the run.
 */
export type TensorRole = "input" | "weight" | "constant" | "activation";

export class Tensor implements TensorSpec {
  constructor(
    readonly graph: Graph,
    readonly id: number,
    readonly name: string,
    readonly shape: readonly number[],
    readonly dtype: DType,
    readonly role: TensorRole,
    /** The tensor whose memory this one is a reshaped view of; itself otherwise. */
    root?: Tensor,
    /** State-dict names of a weight; several are concatenated along their first axis. */
    readonly weights: readonly string[] = [],
    readonly data?: Float32Array | Uint32Array | Int32Array,
    /** How often nodes had overwritten the root's memory when the tensor was made: only the last state can be used. */
    readonly version = 0,
  ) {
    this.root = root ?? this;
  }
  readonly root: Tensor;
  get size(): number {
    return elements(this.shape);
  }
  get bytes(): number {
    return this.size * bytesOf[this.dtype];
  }
  /** Size of axis `i`; negative counts from the end. */
  dim(i: number): number {
    return this.shape[i < 0 ? this.shape.length + i : i]!;
  }
  toString(): string {
    return `${this.name} ${this.dtype} [${this.shape.join(", ")}]`;
  }
}

export interface OutputSpec extends TensorSpec {
  /** An input whose memory the result takes, which nobody can use afterwards: an activation of the same size and type. */
  readonly over?: Tensor | undefined;
}

export interface Cost {
  /** Multiply and add count as two. */
  readonly flops: number;
  /** Bytes that a perfect kernel would move to and from memory. */
  readonly bytes: number;
}

export type Inputs = Record<string, Tensor | undefined>;

/** One kind of node. `I` names its inputs, `A` its attributes, `O` its outputs. */
export interface Op<I extends { [K in keyof I]: Tensor | undefined } = any, A = any, O extends string = string> {
  readonly name: string;
  /** The shape rule: checks the inputs and says what comes out. */
  infer(inputs: I, attrs: A): Record<O, OutputSpec>;
  cost(node: Node<I, A, O>): Cost;
  /** The dispatches that carry the node out on this target, in order. */
  lower(node: Node<I, A, O>, target: Target): Dispatch[];
}

export interface Node<I = Inputs, A = unknown, O extends string = string> {
  readonly id: number;
  readonly op: Op;
  /** Where in the model the node was recorded: the state-dict prefix and the op. */
  readonly name: string;
  readonly inputs: I;
  readonly attrs: A;
  readonly outputs: Readonly<Record<O, Tensor>>;
}

export class Graph {
  readonly nodes: Node[] = [];
  readonly tensors: Tensor[] = [];
  readonly inputs = new Map<string, Tensor>();
  readonly outputs = new Map<string, Tensor>();
  /** After each run the output is copied into the input: the state of a repeated graph. */
  readonly carries: { from: string; to: string }[] = [];
  readonly #weights = new Map<string, Tensor>();
  /** Of roots that nodes have overwritten: how often, and which did so last. */
  readonly #overwritten = new Map<number, { version: number; by: string }>();
  #scope: string[] = [];
  #names = new Map<string, number>();

  constructor(
    readonly name: string,
    /** Storage type of a weight, by its state-dict name. */
    readonly weightType: (name: string) => DType = () => "f32",
  ) {}

  #tensor(
    name: string,
    shape: readonly number[],
    dtype: DType,
    role: TensorRole,
    root?: Tensor,
    weights?: readonly string[],
    data?: Tensor["data"],
    version?: number,
  ): Tensor {
    if (shape.some((n) => !Number.isInteger(n) || n <= 0)) {
      throw new CogwheelError(
        "graph",
        `every axis of a tensor must be a positive integer, got [${shape.join(", ")}] for ${name}; check the sizes`,
      );
    }
    const tensor = new Tensor(this, this.tensors.length, name, [...shape], dtype, role, root, weights, data, version);
    this.tensors.push(tensor);
    return tensor;
  }

  /** Names recorded by `record` start with `name.` */
  scope<T>(name: string, body: () => T): T {
    this.#scope.push(name);
    try {
      return body();
    } finally {
      this.#scope.pop();
    }
  }

  input(name: string, shape: readonly number[], dtype: DType = "f32"): Tensor {
    if (this.inputs.has(name)) throw new CogwheelError("graph", `input names must be unique, got "${name}" twice; rename one`);
    const tensor = this.#tensor(name, shape, dtype, "input");
    this.inputs.set(name, tensor);
    return tensor;
  }

  /** A weight by state-dict name, or several of the same width joined along their first axis; `dtype` overrides how it is stored. */
  weight(names: string | readonly string[], shape: readonly number[], dtype?: DType): Tensor {
    const list = typeof names === "string" ? [names] : names;
    const key = [list.join("+"), shape.join(), dtype].join("|");
    let tensor = this.#weights.get(key);
    if (!tensor) {
      const types = new Set(list.map(this.weightType));
      tensor = this.#tensor(list.join("+"), shape, dtype ?? (types.has("f32") ? "f32" : "f16"), "weight", undefined, list);
      this.#weights.set(key, tensor);
    }
    return tensor;
  }

  constant(name: string, data: Float32Array | Uint32Array | Int32Array, shape: readonly number[] = [data.length]): Tensor {
    if (elements(shape) !== data.length)
      throw new CogwheelError(
        "graph",
        `a constant's shape must hold its data, got [${shape.join(", ")}] for ${data.length} values of ${name}`,
      );
    const dtype = data instanceof Float32Array ? "f32" : data instanceof Uint32Array ? "u32" : "i32";
    return this.#tensor(name, shape, dtype, "constant", undefined, undefined, data);
  }

  output(name: string, tensor: Tensor): void {
    if (this.outputs.has(name)) throw new CogwheelError("graph", `output names must be unique, got "${name}" twice; rename one`);
    if (tensor.graph !== this)
      throw new CogwheelError("graph", `an output must belong to the graph, got "${name}" of another; record it here`);
    this.#assertCurrent("graph", tensor);
    this.outputs.set(name, tensor);
  }

  /** Declares that `output`, after each run, becomes the next run's `input`. */
  carry(output: string, input: string): void {
    this.carries.push({ from: output, to: input });
  }

  /** The same memory under another shape. */
  reshape(tensor: Tensor, shape: readonly number[]): Tensor {
    if (elements(shape) !== tensor.size)
      throw new CogwheelError(
        "reshape",
        `element counts must agree, got [${tensor.shape.join(", ")}] and [${shape.join(", ")}]; check the shape`,
      );
    return this.#tensor(tensor.name, shape, tensor.dtype, tensor.role, tensor.root, tensor.weights, tensor.data, tensor.version);
  }

  #assertCurrent(op: string, tensor: Tensor): void {
    const last = this.#overwritten.get(tensor.root.id);
    if (last && last.version !== tensor.version)
      throw new CogwheelError(
        op,
        `a tensor cannot be used once a node has taken its memory, got ${tensor.name} after ${last.by}; use that node's result, or record it without taking the memory`,
      );
  }

  /** A result in the memory of an input. */
  #overwrite(by: string, name: string, { shape, dtype }: TensorSpec, over: Tensor): Tensor {
    if (over.role !== "activation" || over.dtype !== dtype || over.size !== elements(shape) || over.size !== over.root.size) {
      throw new CogwheelError(
        "graph",
        `a result can take the memory of an activation of its size and type, got ${over} (${over.role}) for ${dtype} [${shape.join(", ")}] of ${by}; record it without`,
      );
    }
    if ((this.#overwritten.get(over.root.id)?.version ?? 0) !== over.version)
      throw new CogwheelError(
        "graph",
        `a tensor's memory can be taken once, got ${over} for two results of ${by}; record one of them without`,
      );
    for (const [output, tensor] of this.outputs)
      if (tensor.root === over.root)
        throw new CogwheelError("graph", `an output's memory cannot be taken, got "${output}" for ${by}; record it without`);
    const version = over.version + 1;
    this.#overwritten.set(over.root.id, { version, by });
    return this.#tensor(name, shape, dtype, "activation", over.root, undefined, undefined, version);
  }

  record<I extends { [K in keyof I]: Tensor | undefined }, A, O extends string>(
    op: Op<I, A, O>,
    inputs: I,
    attrs: A,
  ): Readonly<Record<O, Tensor>> {
    for (const [key, tensor] of Object.entries(inputs) as [string, Tensor | undefined][]) {
      if (!tensor) continue;
      if (tensor.graph !== this)
        throw new CogwheelError(op.name, `inputs must belong to the graph being recorded, got "${key}" of another; record it again here`);
      this.#assertCurrent(op.name, tensor);
    }
    const base = [...this.#scope, op.name].join(".");
    const count = this.#names.get(base) ?? 0;
    this.#names.set(base, count + 1);
    const name = count ? `${base}#${count + 1}` : base;
    const specs = op.infer(inputs, attrs);
    const outputs = {} as Record<O, Tensor>;
    const given = Object.values(inputs) as (Tensor | undefined)[];
    for (const [key, spec] of Object.entries(specs) as [O, OutputSpec][]) {
      const users = spec.over ? given.filter((t) => t?.root === spec.over!.root) : [];
      if (spec.over && (users.length !== 1 || users[0] !== spec.over))
        throw new CogwheelError(
          op.name,
          `a result can take the memory of one input that is no other input too, got ${spec.over} ${users.length} times in ${name}; record it without`,
        );
      const label = `${name}:${key}`;
      outputs[key] = spec.over ? this.#overwrite(name, label, spec, spec.over) : this.#tensor(label, spec.shape, spec.dtype, "activation");
    }
    this.nodes.push({ id: this.nodes.length, op: op as Op, name, inputs: inputs as Inputs, attrs, outputs });
    return outputs;
  }
}
