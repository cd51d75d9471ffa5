/**
 * Reverse-mode differentiation over recorded nodes. The nodes between what is differentiated and the tensors that are asked for are walked
 * backwards; each records its gradient (`GradientRule`) into the same graph, and the gradients of a tensor that several nodes read are
 * added in the order of the walk, which is fixed. So the same graph has the same gradients, to the bit, each time.
 */
import { CogwheelError } from "../base/errors.ts";
import type { Graph } from "../graph/graph.ts";
import type { Node } from "../graph/op.ts";
import { rewrite } from "../graph/rewrite.ts";
import type { Tensor } from "../graph/tensor.ts";
import { add } from "../ops/add.ts";

/** A tensor, and the gradient of a scalar L with respect to it: of its shape, f32 or of its type. */
export interface Cotangent {
  readonly of: Tensor;
  readonly gradient: Tensor;
}

/** What `differentiate` is told beside the results and the tensors. */
export interface DifferentiateOptions {
  /**
   * Activation checkpointing: the block that a node belongs to whose results are not kept but computed once more, from what the block
   * reads, when the walk comes to it. The nodes of a block lie together, but for others that read none of them. Undefined for nodes whose
   * results are kept. Default: all are kept.
   */
  readonly again?: (node: Node) => string | undefined;
  /** Nodes of such blocks whose results are kept all the same, such as attention, which is much work for little memory. Default: none. */
  readonly keep?: (node: Node) => boolean;
}

/**
 * Gradients of L with respect to each of `wanted`, in their shapes, f32 or of their types; undefined for one that L does not depend on.
 * What leads from them to L must have been recorded while they were watched (`watch`).
 */
export function differentiate(
  cotangents: readonly Cotangent[],
  wanted: readonly Tensor[],
  options: DifferentiateOptions = {},
): (Tensor | undefined)[] {
  const graph = cotangents[0]?.of.graph as Graph | undefined;
  if (!graph) throw new CogwheelError("gradient", "something must be differentiated, got no cotangents; give the loss and its gradient");
  for (const { of, gradient } of cotangents)
    if (of.shape.join() !== gradient.shape.join())
      throw new CogwheelError("gradient", `a cotangent must have the shape of its tensor, got ${gradient} for ${of}; reshape it`);
  for (const tensor of wanted)
    if (!graph.isWatched(tensor))
      throw new CogwheelError("gradient", `a gradient is of a tensor that was watched when it was read, got ${tensor}; watch it first`);
  return graph.unwatched(() => new Walk(graph, wanted, options).back(cotangents));
}

class Walk {
  /** Roots that depend on what is wanted. */
  readonly #depends = new Set<Tensor>();
  /** Gradients so far, by root, in the root's shape. */
  readonly #gradients = new Map<Tensor, Tensor>();
  /** What was recorded before the walk, which records more. */
  readonly #recorded: readonly Node[];

  constructor(
    private readonly graph: Graph,
    private readonly wanted: readonly Tensor[],
    private readonly options: DifferentiateOptions,
  ) {
    this.#recorded = [...graph.nodes];
    for (const { root } of wanted) this.#depends.add(root);
  }

  back(cotangents: readonly Cotangent[]): (Tensor | undefined)[] {
    const { graph, options } = this;
    const nodes = this.#recorded.filter((node) => {
      const reads = Object.values(node.inputs).some((tensor) => tensor && this.#depends.has(tensor.root) && graph.isWatched(tensor));
      if (reads) for (const made of Object.values(node.outputs)) if (graph.isWatched(made)) this.#depends.add(made);
      return reads;
    });
    for (const { of, gradient } of cotangents) this.#add(of, gradient);
    for (const part of this.#parts(nodes)) {
      const block = options.again?.(part[0]!);
      for (const node of (block === undefined ? part : this.#again(block, part)).reverse()) this.#through(node);
    }
    return this.wanted.map((tensor) => {
      const gradient = this.#gradients.get(tensor.root);
      return gradient && (gradient.shape.join() === tensor.shape.join() ? gradient : graph.reshape(gradient, tensor.shape));
    });
  }

  /**
   * Nodes as they are walked through, last first: by themselves, or all of a block. What was recorded among a block's nodes and is none of
   * them, such as the conversion of a weight that the block is the first to ask for, is walked through after it.
   */
  #parts(nodes: readonly Node[]): Node[][] {
    const { again = () => undefined } = this.options;
    const parts: Node[][] = [];
    const blocks = new Map<string, Node[]>();
    for (const node of nodes.toReversed()) {
      const block = again(node);
      const part = block === undefined ? undefined : blocks.get(block);
      if (part) part.unshift(node);
      else {
        parts.push([node]);
        if (block !== undefined) blocks.set(block, parts.at(-1)!);
      }
    }
    this.#assertTogether(parts);
    return parts;
  }

  /** A gradient is whole when all that read a tensor were walked through: so nothing may read what a later part of the walk makes. */
  #assertTogether(parts: readonly (readonly Node[])[]): void {
    const place = new Map(
      parts.flatMap((part, i) => part.flatMap((node) => Object.values(node.outputs).map((made) => [made, i] as const))),
    );
    for (const [i, part] of parts.entries())
      for (const node of part)
        for (const tensor of Object.values(node.inputs))
          if (tensor && (place.get(tensor.root) ?? i) < i)
            throw new CogwheelError(
              "gradient",
              `a block's nodes must lie together, got ${node.name}, which reads ${tensor} of a block that goes on after it; ` +
                "name blocks otherwise",
            );
  }

  /**
   * The nodes of a block recorded once more: as a gradient reads them, with the results of those that are kept. Gradients so far are those
   * of the first recording's results.
   */
  #again(block: string, part: readonly Node[]): Node[] {
    const { graph, options } = this;
    const all = this.#recorded.filter((node) => options.again!(node) === block);
    const kept = new Set(all.filter((node) => options.keep?.(node)));
    const before = graph.nodes.length;
    const once = all.filter((node) => !kept.has(node));
    const { of } = rewrite(graph, { into: graph, nodes: once });
    const copies = graph.nodes.slice(before);
    const copyOf = new Map(once.map((node, i) => [node, copies[i]!]));
    return part.map((node) => {
      const copy = copyOf.get(node);
      if (copy) {
        for (const [name, tensor] of Object.entries(node.outputs)) {
          if (!this.#depends.has(tensor)) continue;
          this.#depends.add(copy.outputs[name]!);
          const gradient = this.#gradients.get(tensor);
          if (gradient) this.#gradients.set(copy.outputs[name]!, gradient);
        }
        return copy;
      }
      const inputs = Object.fromEntries(Object.entries(node.inputs).map(([name, tensor]) => [name, tensor && of(tensor)]));
      return { ...node, inputs };
    });
  }

  #through(node: Node): void {
    const dy = Object.fromEntries(
      Object.entries(node.outputs).flatMap(([name, tensor]) => {
        const gradient = this.#gradients.get(tensor);
        return gradient ? [[name, gradient]] : [];
      }),
    );
    if (Object.keys(dy).length === 0) return;
    const want = new Set(Object.entries(node.inputs).flatMap(([name, tensor]) => (tensor && this.#depends.has(tensor.root) ? [name] : [])));
    const record = () => this.graph.ruleOf(node.op).gradient!(node, dy, want);
    const gradients = node.scope ? this.graph.scope(node.scope, record) : record();
    for (const name of want) {
      const gradient = gradients[name];
      if (gradient) this.#add(node.inputs[name]!, gradient, node);
    }
  }

  #add(tensor: Tensor, gradient: Tensor, from?: Node): void {
    if (gradient.size !== tensor.size)
      throw new CogwheelError(
        from?.op.name ?? "gradient",
        `a gradient must have the shape of its tensor, got ${gradient} for ${tensor}; correct the op's gradient`,
      );
    const { root } = tensor;
    const shaped = gradient.shape.join() === root.shape.join() ? gradient : this.graph.reshape(gradient, root.shape);
    const before = this.#gradients.get(root);
    this.#gradients.set(root, before ? add(before, shaped, before.dtype === "f32" ? "f32" : shaped.dtype) : shaped);
  }
}
