/**
 * A graph is data: nodes (op, inputs, attributes) over tensors (shape, dtype). Model code records one by calling the
 * functions of `ops/`; `plan/compile.ts` chooses kernels for it and plans its memory; `run/program.ts` replays it.
 * Nothing here knows a GPU, so shapes, costs and memory can be asked of a model that the machine could not run.
 */
import { CogwheelError } from "../base/errors.ts";
import { elements, type DType } from "./dtype.ts";
import type { Inputs, Node, Op } from "./op.ts";
import { Tensor, type Recorder, type TensorRole, type TensorSpec } from "./tensor.ts";

export class Graph implements Recorder {
  readonly nodes: Node[] = [];
  readonly tensors: Tensor[] = [];
  readonly inputs = new Map<string, Tensor>();
  readonly outputs = new Map<string, Tensor>();
  /** After each run the output is copied into the input: the state of a repeated graph. */
  readonly carries: { from: string; to: string }[] = [];
  readonly #weights = new Map<string, Tensor>();
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
    const scope = this.#scope.join(".");
    const base = scope ? `${scope}.${op.name}` : op.name;
    const count = this.#names.get(base) ?? 0;
    this.#names.set(base, count + 1);
    const name = count ? `${base}#${count + 1}` : base;
    const specs = op.infer(inputs, attrs);
    const outputs = {} as Record<O, Tensor>;
    for (const [key, { shape, dtype }] of Object.entries(specs) as [O, TensorSpec][])
      outputs[key] = this.#tensor(`${name}:${key}`, shape, dtype, "activation");
    this.nodes.push({ id: this.nodes.length, op: op as Op, name, scope, inputs: inputs as Inputs, attrs, outputs });
    return outputs;
  }
}
