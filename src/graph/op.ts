/**
 * What a kind of node is: the shapes that it gives, its cost, and the dispatches that carry it out. The contract of lowering stands here
 * too, so that an op can be written, and a graph recorded, without a word about how plans are made.
 */
import type { Capabilities } from "../gpu/capabilities.ts";
import type { Kernel, KernelShape, ScalarType } from "../gpu/kernel.ts";
import type { DType } from "./dtype.ts";
import type { Packing } from "./packing.ts";
import type { Region } from "./region.ts";
import type { Format } from "./stored.ts";
import type { Tensor, TensorSpec } from "./tensor.ts";

/** What a node costs, whatever kernel carries it out. */
export interface Cost {
  /** Multiply and add count as two. */
  readonly flops: number;
  /** Bytes that a perfect kernel would move to and from memory. */
  readonly bytes: number;
}

export type Inputs = Record<string, Tensor | undefined>;

/**
 * How gradients go through an op. The rules of the engine's own ops are a table apart from them (src/gradient/watch.ts); an op of another
 * package has its rule in itself.
 */
// biome-ignore lint/suspicious/noExplicitAny: as for ops
export interface GradientRule<I extends { [K in keyof I]: Tensor | undefined } = any, A = any, O extends string = any> {
  /**
   * What is recorded in the op's place where gradients will be asked for, such as a product and an activation in place of one node that
   * fuses them: the op's results. Undefined where the op records itself. It must compute what the op computes.
   * @param watched does a gradient go through this operand?
   */
  plain?(inputs: I, attrs: A, watched: (tensor: Tensor | undefined) => boolean): Record<O, Tensor> | undefined;
  /**
   * Records the gradients of a scalar L with respect to the node's operands: from dy, the gradients with respect to its results, those of
   * `want`. Each has its operand's shape, and is f32 or of its operand's type. An operand that L does not depend on may be left out. An op
   * without this method, and without {@link plain}, is refused where a gradient would have to go through it.
   * @param dy of every result that L depends on, at least one, in the result's shape; f32 or of its type
   */
  gradient?(
    node: Node<I, A, O>,
    dy: { readonly [K in O]?: Tensor },
    want: ReadonlySet<keyof I>,
  ): { readonly [K in keyof I]?: Tensor | undefined };
}

/** The rule of an op of this type. */
export type RuleOf<T> = T extends Op<infer I, infer A, infer O> ? GradientRule<I, A, O> : never;

/** One kind of node. `I` names its inputs, `A` its attributes, `O` its outputs. */
// biome-ignore lint/suspicious/noExplicitAny: a graph holds nodes of every kind, and an op takes only its own inputs and attributes
export interface Op<I extends { [K in keyof I]: Tensor | undefined } = any, A = any, O extends string = string>
  extends GradientRule<I, A, O> {
  readonly name: string;
  /** The shape rule: checks the inputs and says what comes out. */
  infer(inputs: I, attrs: A): Record<O, TensorSpec>;
  cost(node: Node<I, A, O>): Cost;
  /**
   * Results that may lie in an input's memory, with that input's name, where the plan finds that nobody reads the input afterwards: all
   * of them or none, which `lower` asks its target. Default: none.
   */
  mayTake?(node: Node<I, A, O>): { readonly [K in O]?: keyof I };
  /** The dispatches that carry the node out on this target, in order. */
  lower(node: Node<I, A, O>, target: Target): Dispatch[];
  /**
   * For ops over pictures: which part of its inputs the part `out` of its results is computed from. A picture cannot be cut into tiles
   * where an op does not say.
   */
  reach?(node: Node<I, A, O>, out: Region): Reach<I, A>;
}

/** What a part of a picture is computed from. */
export interface Reach<I, A> {
  /** The part of each input; one that is left out is read whole. */
  readonly inputs: { readonly [K in keyof I]?: Region };
  /** The attributes with which the op computes this part from those parts. */
  readonly attrs: A;
}

/** An op in a graph: what it reads, its attributes, and what it gives. */
export interface Node<I = Inputs, A = unknown, O extends string = string> {
  readonly id: number;
  readonly op: Op;
  /** Where in the model the node was recorded: its scopes, joined by dots, and the op; a number where that is not the first such node. */
  readonly name: string;
  /** The scopes alone; mostly a state-dict prefix. */
  readonly scope: string;
  readonly inputs: I;
  readonly attrs: A;
  readonly outputs: Readonly<Record<O, Tensor>>;
}

/** A tensor, or a part of its memory. `offset` must be a multiple of the adapter's offset alignment (256). */
export interface View {
  readonly tensor: Tensor;
  readonly offset?: number;
  readonly bytes?: number;
  /** The layout that the kernel reads, in which a view counts bytes. A weight is packed once, any other operand before the dispatch. */
  readonly packing?: Packing;
}

/** One launch of a specialised kernel on views of tensors. */
export interface Dispatch<S extends KernelShape = KernelShape> {
  readonly kernel: Kernel<S>;
  readonly bindings: { readonly [K in S["bindings"]]: Tensor | View };
  readonly params: { readonly [K in S["params"]]: number };
  readonly consts?: { readonly [K in S["consts"]]?: number };
  readonly types?: { readonly [K in S["types"]]?: ScalarType };
  readonly overrides?: { readonly [K in S["overrides"]]?: number };
  /** Workgroups; more than the adapter allows in x folds into y, the kernel reads `wid.x + wid.y * grid.x`. */
  readonly grid: readonly [number, number, number];
  /** Its own share of the node's cost, where dispatches differ; the others share the rest evenly. */
  readonly cost?: Cost;
}

/** A kernel of an op with what it is specialised by: a name, then numbers. */
export interface Variant {
  readonly name: string;
}

/** What lowering may ask: the adapter's capabilities, which kernel to take, and memory for intermediate results. */
export interface Target {
  readonly caps: Capabilities;
  /** Do the node's results lie in the memory of the inputs that its op's `mayTake` names? Then such an input is not bound by itself. */
  readonly inPlace: boolean;
  /** How a weight is stored, where the plan was told; null for what is no weight. */
  formatOf(tensor: Tensor): Format | null;
  /** The variant for work of this kind: the one that a measurement on this adapter names, else the first candidate. */
  choose<V extends Variant>(key: string, candidates: readonly V[]): V;
  /** In which packed layouts nodes before this one read a weight; none of what is no weight, which is packed for each node. */
  layoutsOf(weight: Tensor): readonly Packing[];
  /** A tensor that lives within this node's dispatches (placed by the memory plan). */
  scratch(shape: readonly number[], dtype: DType): Tensor;
  /** Data that the chosen kernel needs, such as a list of tiles. */
  constant(name: string, data: Float32Array | Uint32Array, shape: readonly number[]): Tensor;
}
