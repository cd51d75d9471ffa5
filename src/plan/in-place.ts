/**
 * Which results are computed in place: in the memory of an input that nobody reads any more. A graph says nothing of memory, and every
 * tensor of it may be read at any time; an op says which inputs its results may take (`mayTake`). The plan decides here, before it lowers.
 */
import type { Graph } from "../graph/graph.ts";
import type { Node } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";

export interface InPlace {
  /** Nodes whose results take their inputs' memory. */
  readonly nodes: ReadonlySet<Node>;
  /** The tensor in whose memory a tensor lies: the first of those that took it from each other. */
  home(tensor: Tensor): Tensor;
}

/**
 * A node computes in place if, of every pair that its op names, the input is an activation of the result's size and type that no output
 * of the graph needs, and this node reads it last and once. All pairs or none.
 */
export function inPlace(graph: Graph): InPlace {
  const lastReader = new Map<Tensor, Node>();
  for (const node of graph.nodes) for (const { root } of inputsOf(node)) lastReader.set(root, node);
  const needed = new Set([...graph.outputs.values()].map(({ root }) => root));

  const homes = new Map<Tensor, Tensor>();
  const home = ({ root }: Tensor): Tensor => homes.get(root) ?? root;
  const nodes = new Set<Node>();
  for (const node of graph.nodes) {
    const pairs = Object.entries(node.op.mayTake?.(node) ?? {}).map(([result, input]) => ({
      result: node.outputs[result]!,
      input: node.inputs[input as string],
    }));
    const free = ({ result, input }: (typeof pairs)[number]): boolean =>
      input !== undefined &&
      input.root.role === "activation" &&
      input.dtype === result.dtype &&
      input.root.bytes === result.bytes &&
      !needed.has(input.root) &&
      lastReader.get(input.root) === node &&
      inputsOf(node).filter(({ root }) => root === input.root).length === 1;
    if (pairs.length === 0 || !pairs.every(free)) continue;
    nodes.add(node);
    for (const { result, input } of pairs) homes.set(result, home(input!));
  }
  return { nodes, home };
}

const inputsOf = (node: Node): Tensor[] => Object.values(node.inputs).filter((t): t is Tensor => t !== undefined);
