/**
 * Where results lie. A graph says nothing of memory, and every tensor of it may be read at any time; an op says which inputs its results
 * may take (`mayTake`). The plan decides here, before it lowers: a result takes the memory of an input that nobody reads any more, and the
 * new value of a state is computed in the state where nobody reads the old one any more.
 */
import type { Graph } from "../graph/graph.ts";
import type { Node } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";

export interface InPlace {
  /** The nodes that run, in their order: those that an output or a new value of a state needs. */
  readonly order: readonly Node[];
  /** Nodes whose results take their inputs' memory. */
  readonly nodes: ReadonlySet<Node>;
  /** States that get their new value by a copy when the run is over; that of others is computed where they lie. */
  readonly copies: readonly { readonly from: Tensor; readonly to: Tensor }[];
  /** The tensor in whose memory a tensor lies: a state, or the first of those that took it from each other. */
  home(tensor: Tensor): Tensor;
}

const inputsOf = (node: Node): Tensor[] => Object.values(node.inputs).filter((t): t is Tensor => t !== undefined);

/** @param taken what is read while a run is under way */
export function inPlace(graph: Graph, taken: readonly Tensor[] = []): InPlace {
  const order = inOrder(graph, taken);
  const position = new Map(order.map((node, i) => [node, i]));
  const lastReader = new Map<Tensor, Node>();
  const producer = new Map<Tensor, Node>();
  for (const node of order) {
    for (const { root } of inputsOf(node)) lastReader.set(root, node);
    for (const made of Object.values(node.outputs)) producer.set(made, node);
  }
  const needed = new Set([...graph.outputs.values(), ...graph.updates.values()].map(({ root }) => root));

  const heirs = new Map<Tensor, Tensor>();
  const first = ({ root }: Tensor): Tensor => heirs.get(root) ?? root;
  const nodes = new Set<Node>();
  for (const node of order) {
    const pairs = Object.entries(node.op.mayTake?.(node) ?? {}).map(([result, input]) => ({
      result: node.outputs[result]!,
      input: node.inputs[input as string],
    }));
    /**
     * Is the input an activation that no output needs, or a state that this result is the new
     * value of, and read last and once by this node?
     */
    const free = ({ result, input }: (typeof pairs)[number]): boolean =>
      input !== undefined &&
      (input.root.role === "activation" || (input.root.role === "state" && graph.updates.get(input.root)?.root === result)) &&
      input.dtype === result.dtype &&
      input.root.bytes === result.bytes &&
      !needed.has(input.root) &&
      lastReader.get(input.root) === node &&
      inputsOf(node).filter(({ root }) => root === input.root).length === 1;
    // All pairs of an op or none.
    if (pairs.length === 0 || !pairs.every(free)) continue;
    nodes.add(node);
    for (const { result, input } of pairs) heirs.set(result, first(input!));
  }

  const states = new Map<Tensor, Tensor>();
  const home = (tensor: Tensor): Tensor => states.get(first(tensor)) ?? first(tensor);
  const copies: { from: Tensor; to: Tensor }[] = [];
  for (const [state, value] of graph.updates) {
    const root = first(value);
    if (root === state) continue;
    const reader = lastReader.get(state);
    const free = root.role === "activation" && !states.has(root) && (!reader || position.get(reader)! < position.get(producer.get(root)!)!);
    if (free) states.set(root, state);
    else copies.push({ from: value, to: state });
  }
  return { order, nodes, copies, home };
}

/** Without what nobody reads: a gradient may record more than is asked for, and a block that is computed again ends in its result. */
function live(graph: Graph, taken: readonly Tensor[]): Node[] {
  const read = new Set([...graph.outputs.values(), ...graph.updates.values(), ...taken].map(({ root }) => root));
  const nodes: Node[] = [];
  for (const node of graph.nodes.toReversed()) {
    if (!Object.values(node.outputs).some((tensor) => read.has(tensor))) continue;
    for (const { root } of inputsOf(node)) read.add(root);
    nodes.push(node);
  }
  return nodes.reverse();
}

/**
 * As recorded, but what only makes a state's new value comes as soon as it can, so that nothing waits for it in memory: when what it reads
 * is there, and the old value was read, for it can be computed in the state then.
 */
function inOrder(graph: Graph, taken: readonly Tensor[]): Node[] {
  const recorded = live(graph, taken);
  const readers = new Map<Tensor, Node>();
  const makers = new Map<Tensor, Node>();
  for (const node of recorded) {
    for (const { root } of inputsOf(node)) readers.set(root, node);
    for (const made of Object.values(node.outputs)) makers.set(made, node);
  }
  const moved = new Set<Node>();
  const after = new Map<Node, Node[]>();
  for (const node of recorded) {
    const made = new Set(Object.values(node.outputs));
    if ([...made].some((tensor) => readers.has(tensor))) continue;
    const states = [...graph.updates].filter(([, value]) => made.has(value.root)).map(([state]) => state);
    if (states.length === 0) continue;
    const before = [...inputsOf(node).map(({ root }) => makers.get(root)), ...states.map((state) => readers.get(state))];
    const last = before.reduce<Node | undefined>((a, b) => (b && b !== node && (!a || b.id > a.id) ? b : a), undefined);
    // What others wait for stays, and so does what reads a state that one of those moves.
    if (!last || (last.id < node.id && (moved.has(last) || after.has(node)))) continue;
    moved.add(node);
    after.set(last, [...(after.get(last) ?? []), node]);
  }
  const order: Node[] = [];
  const put = (node: Node): void => {
    order.push(node);
    after.get(node)?.forEach(put);
  };
  for (const node of recorded) if (!moved.has(node)) put(node);
  return order;
}
