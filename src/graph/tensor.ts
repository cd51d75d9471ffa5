/** Tensors of a graph: a shape, an element type, and where their values come from. */
import { bytesOf, elements, type DType } from "./dtype.ts";

/** What a tensor is, without the graph that it is in. */
export interface TensorSpec {
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/**
 * input: given by the caller, kept between runs · state: kept and updated from run to run · weight: from the checkpoint · constant: known
 * when recording · activation: computed by a node, and placed by the memory plan.
 */
export type TensorRole = "input" | "state" | "weight" | "constant" | "activation";

/** An op as a recorder sees it; the whole contract is `Op` of op.ts. */
interface Recordable<I, A, O extends string> {
  readonly name: string;
  infer(inputs: I, attrs: A): Record<O, TensorSpec>;
  cost(node: never): object;
  lower(node: never, target: never): object;
}

/** What an op asks of the graph that its operands belong to: `Graph` of graph.ts. */
export interface Recorder {
  record<I extends { [K in keyof I]: Tensor | undefined }, A, O extends string>(
    op: Recordable<I, A, O>,
    inputs: I,
    attrs: A,
  ): Readonly<Record<O, Tensor>>;
  constant(name: string, data: Float32Array | Uint32Array | Int32Array, shape?: readonly number[]): Tensor;
  reshape(tensor: Tensor, shape: readonly number[]): Tensor;
}

/** A tensor of a graph: a name, a shape and a type. Its values are in a program. */
export class Tensor implements TensorSpec {
  constructor(
    readonly graph: Recorder,
    readonly id: number,
    readonly name: string,
    readonly shape: readonly number[],
    readonly dtype: DType,
    readonly role: TensorRole,
    /** The tensor whose memory this one is a reshaped view of; itself otherwise. */
    root?: Tensor,
    /** State-dict names of a weight; several are concatenated along their first axis. */
    readonly weights: readonly string[] = [],
    /** What a constant holds, and a state before the first run. */
    readonly data?: Float32Array | Uint32Array | Int32Array,
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
