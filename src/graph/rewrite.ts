/**
 * Rewriting: recorded nodes are recorded once more, one by one, into a new graph or the same one. Whatever makes a graph of a graph goes
 * through here: a copy, a range of nodes by itself with what it reads and gives as inputs and outputs, a part of a picture, nodes that are
 * replaced by others, the nodes of a scope again where their results were not kept.
 *
 * Ops, attributes, scopes, weights, constants and reshaped views are carried along; of a whole graph also its inputs, outputs, states
 * and their updates, so that a copy has the plan and the bytes of its original.
 */
import { CogwheelError } from "../base/errors.ts";
import { Graph } from "./graph.ts";
import type { Inputs, Node } from "./op.ts";
import type { Tensor } from "./tensor.ts";

export interface RewriteOptions {
  /** What the nodes are recorded into. Default: a new graph of the same name and weight types. */
  readonly into?: Graph;
  /** Of the new graph. Default: that of the original. */
  readonly name?: string;
  /** The nodes to record, in an order in which they can run. Default: all, with all inputs and outputs of the graph. */
  readonly nodes?: readonly Node[];
  /**
   * What the new graph gives, by name. Default: of a whole graph its outputs; of a range of nodes whatever others read of it, as {@link
   * boundary} names it. With `into` nothing.
   */
  readonly outputs?: Iterable<readonly [name: string, tensor: Tensor]>;
  /**
   * What stands for a tensor that none of the nodes makes, be it an input or another node's result; weights and constants come by
   * themselves. Default: an input of its name, shape and type; in the same graph the tensor itself.
   */
  readonly bring?: (tensor: Tensor, into: Graph) => Tensor;
  /** What is recorded in place of a node: its results by name. Undefined for a node that stays as it is. */
  readonly replace?: (node: Node, inputs: Inputs, into: Graph) => Readonly<Record<string, Tensor>> | undefined;
}

export interface Rewritten {
  readonly graph: Graph;
  /** The tensor that stands for one of the original. */
  of(tensor: Tensor): Tensor;
}

/** Records nodes of `from` once more. */
export function rewrite(from: Graph, options: RewriteOptions = {}): Rewritten {
  const { into = new Graph(options.name ?? from.name, from.weightType, from.standIn), bring, replace } = options;
  const whole = options.nodes === undefined && into !== from;
  const { nodes = from.nodes } = options;
  // By root, for views of a tensor are made of what stands for it.
  const values = new Map<Tensor, Tensor>();
  const views = new Map<number, Tensor>();

  const stand = (root: Tensor): Tensor => {
    if (root.role === "weight") return into.weight(root.weights, root.shape, root.dtype);
    if (root.role === "constant") return into.constant(root.name, root.data!, root.shape);
    if (root.role === "state" && whole && !bring) return into.state(root.name, root.shape, root.dtype, root.data);
    return bring ? bring(root, into) : into.input(root.name, root.shape, root.dtype);
  };
  const of = (tensor: Tensor): Tensor => {
    const found = views.get(tensor.id);
    if (found) return found;
    let base = values.get(tensor.root);
    if (!base) {
      if (into === from && !bring) return tensor;
      base = stand(tensor.root);
      if (base.graph !== into)
        throw new CogwheelError(
          "rewrite",
          `what stands for ${tensor.root} must belong to the new graph, got a tensor of another; record it there`,
        );
      values.set(tensor.root, base);
    }
    // What the caller brings may have another shape than what it stands for: a part of a picture.
    const view = tensor === tensor.root || base.shape.join() === tensor.shape.join() ? base : into.reshape(base, tensor.shape);
    views.set(tensor.id, view);
    return view;
  };

  if (whole) for (const tensor of [...from.inputs.values(), ...from.states.values()]) of(tensor);
  for (const node of nodes) {
    const inputs = Object.fromEntries(Object.entries(node.inputs).map(([key, tensor]) => [key, tensor && of(tensor)]));
    const record = () => replace?.(node, inputs, into) ?? into.record(node.op, inputs, node.attrs);
    const results = node.scope ? into.scope(node.scope, record) : record();
    for (const [key, tensor] of Object.entries(node.outputs)) {
      const result = results[key];
      if (!result)
        throw new CogwheelError(
          "rewrite",
          `what is recorded in place of ${node.name} must give "${key}", got ${Object.keys(results).join(", ") || "nothing"}; return it`,
        );
      values.set(tensor.root, result);
      views.set(tensor.id, result);
    }
  }
  const given = options.outputs ?? (whole ? from.outputs : options.into ? [] : boundary(from, nodes));
  for (const [name, tensor] of given) into.output(name, of(tensor));
  if (whole) for (const [state, value] of from.updates) if (of(state).role === "state") into.update(of(state), of(value));
  return { graph: into, of };
}

/**
 * What a range of nodes makes for others: the graph's outputs by their names, then what other nodes read and what updates a state, each by
 * its own. States are inputs of a range, for whoever runs it keeps them.
 */
export function boundary(graph: Graph, nodes: readonly Node[]): Map<string, Tensor> {
  const inside = new Set(nodes);
  const made = new Map(nodes.flatMap((node) => Object.values(node.outputs).map((tensor) => [tensor.root, tensor] as const)));
  const read = graph.nodes
    .filter((node) => !inside.has(node))
    .flatMap((node) => Object.values(node.inputs))
    .concat(...graph.updates.values())
    .map((tensor) => tensor && made.get(tensor.root));
  const outputs = [...graph.outputs].filter(([, tensor]) => made.has(tensor.root));
  const given = new Set(outputs.map(([, tensor]) => tensor.root));
  return new Map([...outputs, ...read.flatMap((tensor) => (tensor && !given.has(tensor.root) ? [[tensor.name, tensor] as const] : []))]);
}
