/**
 * A graph is data: nodes (op, inputs, attributes) over tensors (shape, dtype). Model code records one by calling the
 * functions of `ops/`; `plan/compile.ts` chooses kernels for it and plans its memory; `run/program.ts` replays it.
 * Nothing here knows a GPU, so shapes, costs and memory can be asked of a model that the machine could not run.
 */
import { CogwheelError } from "../base/errors.ts";
import { elements, isFloat, type DType } from "./dtype.ts";
import type { GradientRule, Inputs, Node, Op } from "./op.ts";
import { Tensor, type Recorder, type TensorRole, type TensorSpec } from "./tensor.ts";

/** A weight that model code asks for: its state-dict names, joined along the first axis, and how it would be stored. */
export interface AskedWeight {
  readonly names: readonly string[];
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** What ops are recorded into: nodes and tensors, as data. It knows no GPU; `compile` makes a plan of it. */
export class Graph implements Recorder {
  readonly nodes: Node[] = [];
  readonly tensors: Tensor[] = [];
  readonly inputs = new Map<string, Tensor>();
  readonly outputs = new Map<string, Tensor>();
  /** Tensors that live from run to run. */
  readonly states = new Map<string, Tensor>();
  /** What states hold after a run: the new value by the state. */
  readonly updates = new Map<Tensor, Tensor>();
  readonly #weights = new Map<string, Tensor>();
  #scope: string[] = [];
  #names = new Map<string, number>();
  readonly #watched = new Set<Tensor>();
  #watching = true;
  #rules: (op: Op) => GradientRule | undefined = () => undefined;

  constructor(
    readonly name: string,
    /** Storage type of a weight, by its state-dict name. */
    readonly weightType: (name: string) => DType = () => "f32",
    /** What stands for a weight, recorded here when it is first asked for: a parameter that is trained. Default: none, it is a weight. */
    readonly standIn: (weight: AskedWeight, graph: Graph) => Tensor | undefined = () => undefined,
  ) {}

  #tensor(
    name: string,
    shape: readonly number[],
    dtype: DType,
    role: TensorRole,
    root?: Tensor,
    weights?: readonly string[],
    data?: Tensor["data"],
  ): Tensor {
    if (shape.some((n) => !Number.isInteger(n) || n <= 0)) {
      throw new CogwheelError(
        "graph",
        `every axis of a tensor must be a positive integer, got [${shape.join(", ")}] for ${name}; check the sizes`,
      );
    }
    const tensor = new Tensor(this, this.tensors.length, name, [...shape], dtype, role, root, weights, data);
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
    if (this.states.has(name)) throw new CogwheelError("graph", `an input and a state have two names, got "${name}" for both; rename one`);
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
      const stored = dtype ?? (types.has("f32") ? "f32" : "f16");
      tensor =
        this.#outOfScope(() => this.standIn({ names: list, shape, dtype: stored }, this)) ??
        this.#tensor(list.join("+"), shape, stored, "weight", undefined, list);
      this.#weights.set(key, tensor);
    }
    return tensor;
  }

  /** What belongs to no part of the model, though a part is the first to ask for it. */
  #outOfScope<T>(body: () => T): T {
    const scope = this.#scope;
    this.#scope = [];
    try {
      return body();
    } finally {
      this.#scope = scope;
    }
  }

  /**
   * Gradients with respect to this tensor will be asked for. From here on ops that read it, or what is computed from it, are recorded in
   * parts that have gradients, and an op that has none is refused.
   * @param rules of ops that do not have theirs in themselves; `watch` of src/gradient/ gives those of the engine's
   */
  watch(tensor: Tensor, rules: (op: Op) => GradientRule | undefined): Tensor {
    if (!isFloat(tensor))
      throw new CogwheelError("graph", `gradients are asked for with respect to f32 or f16, got ${tensor}; leave it out`);
    this.#rules = rules;
    this.#watched.add(tensor.root);
    return tensor;
  }

  /** Is a gradient with respect to this tensor wanted, or of what it was computed from? */
  isWatched(tensor: Tensor | undefined): boolean {
    return tensor !== undefined && this.#watched.has(tensor.root);
  }

  /** How gradients go through this op: by its own rule, or by that of {@link watch}. */
  ruleOf(op: Op): GradientRule {
    return op.gradient || op.plain ? op : (this.#rules(op) ?? op);
  }

  /** Records what no gradient goes through, whatever it reads: gradients themselves, updates, measures. */
  unwatched<T>(body: () => T): T {
    const before = this.#watching;
    this.#watching = false;
    try {
      return body();
    } finally {
      this.#watching = before;
    }
  }

  constant(name: string, data: Float32Array | Uint32Array | Int32Array, shape: readonly number[] = [data.length]): Tensor {
    if (elements(shape) !== data.length)
      throw new CogwheelError(
        "graph",
        `a constant's shape must hold its data, got [${shape.join(", ")}] for ${data.length} values of ${name}`,
      );
    return this.#tensor(name, shape, typeOf(data), "constant", undefined, undefined, data);
  }

  output(name: string, tensor: Tensor): void {
    if (this.outputs.has(name)) throw new CogwheelError("graph", `output names must be unique, got "${name}" twice; rename one`);
    if (tensor.graph !== this)
      throw new CogwheelError("graph", `an output must belong to the graph, got "${name}" of another; record it here`);
    this.outputs.set(name, tensor);
  }

  /**
   * A tensor that lives from run to run: its nodes read what it held when the run began. Zeros, or `initial`, before anything was
   * written to it. The same name is the same state, here and in every program that shares it.
   */
  state(name: string, shape: readonly number[], dtype: DType = "f32", initial?: Tensor["data"]): Tensor {
    const found = this.states.get(name);
    if (found && (found.shape.join() !== shape.join() || found.dtype !== dtype))
      throw new CogwheelError(
        "graph",
        `a state has one shape and type, got ${found} and ${dtype} [${shape.join(", ")}]; name one of them otherwise`,
      );
    if (this.inputs.has(name)) throw new CogwheelError("graph", `an input and a state have two names, got "${name}" for both; rename one`);
    if (initial && (initial.length !== elements(shape) || typeOf(initial) !== dtype))
      throw new CogwheelError(
        "graph",
        "a state's initial values must fill it and be of its type, which f16 cannot, " +
          `got ${initial.length} in ${typeOf(initial)} for ${name} ${dtype} [${shape.join(", ")}]; write them to the program`,
      );
    if (found && initial && found.data !== initial)
      throw new CogwheelError("graph", `a state begins with one value, got two for ${found}; give it where the state is first asked for`);
    const tensor = found ?? this.#tensor(name, shape, dtype, "state", undefined, undefined, initial);
    this.states.set(name, tensor);
    return tensor;
  }

  /**
   * What a state holds when the run is over, and the next run reads. A run that was stopped may leave the old value, the new one or
   * parts of both: then write it again.
   */
  update(state: Tensor, value: Tensor): void {
    if (state.graph !== this || state.role !== "state" || state !== state.root)
      throw new CogwheelError(
        "graph",
        `only a state of the graph can be updated, got the ${state.role} ${state}; make it with graph.state`,
      );
    if (this.updates.has(state))
      throw new CogwheelError("graph", `a state is updated once in a run, got two values for ${state}; leave one out`);
    if (value.graph !== this || value.role !== "activation" || value.bytes !== state.bytes || value.dtype !== state.dtype)
      throw new CogwheelError(
        "graph",
        `a state takes a value of its size and type that a node computes, got the ${value.role} ${value} for ${state}; convert it`,
      );
    this.updates.set(state, value);
  }

  /** The same memory under another shape. */
  reshape(tensor: Tensor, shape: readonly number[]): Tensor {
    if (elements(shape) !== tensor.size)
      throw new CogwheelError(
        "reshape",
        `element counts must agree, got [${tensor.shape.join(", ")}] and [${shape.join(", ")}]; check the shape`,
      );
    return this.#tensor(tensor.name, shape, tensor.dtype, tensor.role, tensor.root, tensor.weights, tensor.data);
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
    }
    const watched = this.#watching && (Object.values(inputs) as (Tensor | undefined)[]).some((tensor) => this.isWatched(tensor));
    if (watched) {
      const rule = this.ruleOf(op as Op);
      const parts = rule.plain?.(inputs, attrs, (tensor) => this.isWatched(tensor));
      if (parts) return parts as Readonly<Record<O, Tensor>>;
      if (!rule.gradient)
        throw new CogwheelError(
          op.name,
          "an op through which a gradient goes must have one, got none for this; " +
            "train what comes after it, record it with graph.unwatched, or give the op a gradient",
        );
    }
    const scope = this.#scope.join(".");
    const base = scope ? `${scope}.${op.name}` : op.name;
    const count = this.#names.get(base) ?? 0;
    this.#names.set(base, count + 1);
    const name = count ? `${base}#${count + 1}` : base;
    const specs = op.infer(inputs, attrs);
    const outputs = {} as Record<O, Tensor>;
    for (const [key, { shape, dtype }] of Object.entries(specs) as [O, TensorSpec][])
      outputs[key] = this.#tensor(`${name}:${key}`, shape, dtype, "activation");
    if (watched) for (const made of Object.values(outputs) as Tensor[]) if (isFloat(made)) this.#watched.add(made);
    this.nodes.push({ id: this.nodes.length, op: op as Op, name, scope, inputs: inputs as Inputs, attrs, outputs });
    return outputs;
  }
}

const typeOf = (data: NonNullable<Tensor["data"]>): DType =>
  data instanceof Float32Array ? "f32" : data instanceof Uint32Array ? "u32" : "i32";
