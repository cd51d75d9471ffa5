/**
 * Cuts a recorded frame batch at its norms. What keeps tiles from being exact is GroupNorm: its mean and deviation are those of the
 * whole batch of frames. So the graph becomes sections: a norm's application, a convolution or two, the statistics of what they give. A
 * section runs tile after tile, and the host merges the tiles' statistics before the next one begins.
 */
import type { Graph } from "../../../graph/graph.ts";
import type { Node } from "../../../graph/op.ts";
import type { Tensor } from "../../../graph/tensor.ts";
import { channelsFirstOp, channelsLastOp } from "../../../ops/channels.ts";
import { conv3dOp, type ConvAttrs } from "../../../ops/conv3d.ts";
import { groupNormMergeOp } from "../../../ops/group_norm_merge.ts";
import { groupNormStatsOp } from "../../../ops/group_norm_stats.ts";

/** A part of a graph that runs tile after tile. */
export interface Section {
  /** In the order in which they run. */
  readonly nodes: readonly Node[];
  /** Tensors that later sections or the caller need. */
  readonly kept: readonly Tensor[];
  /** Statistics that the next sections' norms need. */
  readonly stats: readonly Tensor[];
}

/** A tensor as a picture on the host: planes of rows of positions. */
export interface PictureSize {
  readonly height: number;
  readonly width: number;
  readonly planes: number;
  /** Bytes of one position. */
  readonly position: number;
}

export const isStats = (node: Node): boolean => node.op === groupNormStatsOp;
export const isMerge = (node: Node): boolean => node.op === groupNormMergeOp;
const isConv = (node: Node): boolean => node.op === conv3dOp;
const isDoubling = (node: Node): boolean => isConv(node) && (node.attrs as ConvAttrs).upsample !== null;
/** Does it compute a position of its one result of the same position of its input, at next to no cost? */
const isPointwise = (node: Node): boolean =>
  node.op === channelsLastOp || (isConv(node) && node.inputs["w"]!.shape.slice(2).every((n) => n === 1));

/** Is it given or computed, and so a picture or a norm of one? */
export const isMoving = ({ root }: Tensor): boolean => root.role !== "weight" && root.role !== "constant";
/** What of it a node reads. */
export const movingInputs = (node: Node): Tensor[] => Object.values(node.inputs).filter((t): t is Tensor => t !== undefined && isMoving(t));

/** The node that makes each tensor, by the tensor's id. */
export function producersOf(graph: Graph): ReadonlyMap<number, Node> {
  const producers = new Map<number, Node>();
  for (const node of graph.nodes) for (const tensor of Object.values(node.outputs)) producers.set(tensor.id, node);
  return producers;
}

/** Tensors [B, C, T, H, W], by id: the reference's layout, at a graph's ends. All others have their channels last. */
export const channelsFirstIn = (graph: Graph): ReadonlySet<number> =>
  new Set(
    graph.nodes.flatMap(({ op, inputs, outputs }) =>
      op === channelsLastOp ? [inputs["x"]!.id] : op === channelsFirstOp ? [Object.values(outputs)[0]!.id] : [],
    ),
  );

/** A frame batch in sections, and what must be known of its tensors to run them. */
export class CutGraph {
  readonly producers: ReadonlyMap<number, Node>;
  readonly sections: readonly Section[];
  readonly #channelsFirst: ReadonlySet<number>;

  constructor(readonly graph: Graph) {
    this.producers = producersOf(graph);
    this.sections = sectionsOf(graph, this.producers);
    this.#channelsFirst = channelsFirstIn(graph);
  }

  /** The axis of a tensor's rows; that of its columns is the next one. */
  rowAxis(tensor: Tensor): number {
    return this.#channelsFirst.has(tensor.id) ? tensor.shape.length - 2 : 2;
  }

  size(tensor: Tensor): PictureSize {
    const axis = this.rowAxis(tensor);
    const [height, width] = [tensor.shape[axis]!, tensor.shape[axis + 1]!];
    const planes = tensor.shape.slice(0, axis).reduce((a, b) => a * b, 1);
    return { height, width, planes, position: tensor.bytes / (planes * height * width) };
  }

  /** Is it mean and deviation of a batch of frames, which the host merges? */
  isNorm(tensor: Tensor): boolean {
    const from = this.producers.get(tensor.id);
    return from !== undefined && isMerge(from);
  }

  /** The size in which a section's tiles are counted: that of what its last convolution gives. */
  grid(section: Section): PictureSize {
    const last = section.stats.length
      ? this.producers.get(section.stats.at(-1)!.id)!.inputs["x"]!
      : (section.kept.find((t) => this.graph.outputs.get("y")?.id === t.id) ?? section.kept.at(-1)!);
    return this.size(last);
  }

  /** Number of the last section that reads a tensor, by the tensor's id. */
  lastReaders(): ReadonlyMap<number, number> {
    const last = new Map<number, number>();
    this.sections.forEach(({ nodes }, i) => {
      for (const node of nodes) for (const tensor of Object.values(node.inputs)) if (tensor) last.set(tensor.id, i);
    });
    return last;
  }

  /**
   * A residual that is read for the last time here, position by position: what the section keeps may take its place in memory.
   * @param last of {@link lastReaders}
   */
  inPlace(section: Section, index: number, last: ReadonlyMap<number, number>): { kept: Tensor; residual: Tensor } | undefined {
    for (const node of section.nodes) {
      const residual = isConv(node) ? node.inputs["residual"] : undefined;
      const kept = Object.values(node.outputs)[0]!;
      if (
        !residual ||
        !section.kept.includes(kept) ||
        section.kept.includes(residual) ||
        last.get(residual.id) !== index ||
        residual.bytes !== kept.bytes
      )
        continue;
      const from = this.producers.get(residual.id);
      // Whoever else reads either of them may reach beyond the tile.
      const others = section.nodes.some(
        (other) =>
          other !== node &&
          (Object.values(other.inputs).includes(residual) || (!isStats(other) && Object.values(other.inputs).includes(kept))),
      );
      if (from && !section.nodes.includes(from) && !others) return { kept, residual };
    }
    return undefined;
  }
}

/**
 * Norms themselves are no part of a section: the host merges their statistics. Two kinds of nodes are computed again wherever they are
 * needed, for that costs less than keeping what they give: what is made of the graph's inputs position by position (a norm's scale and
 * shift of the latents), and doubling convolutions, whose input is a quarter of their output.
 */
function sectionsOf(graph: Graph, producers: ReadonlyMap<number, Node>): Section[] {
  const number = new Map<Node, number>();
  const ofInputs = new Set<Node>();
  for (const node of graph.nodes) {
    const from = movingInputs(node).map((t) => producers.get(t.id));
    if (isPointwise(node) && from.every((n) => !n || ofInputs.has(n))) ofInputs.add(node);
    number.set(node, Math.max(0, ...from.map((n) => (n ? number.get(n)! + (isMerge(n) ? 1 : 0) : 0))));
  }
  const required = new Set<number>([...graph.outputs.values(), ...graph.updates.values()].map((t) => t.id));
  const lists = Array.from({ length: 1 + Math.max(...number.values()) }, (_, i) => {
    const own = graph.nodes.filter((node) => number.get(node) === i && !isMerge(node) && !ofInputs.has(node));
    const again = new Set<Node>();
    const visit = (node: Node): void => {
      for (const tensor of movingInputs(node)) {
        const from = producers.get(tensor.id);
        if (!from || isMerge(from) || (number.get(from) === i && !ofInputs.has(from))) continue;
        if (!ofInputs.has(from) && !isDoubling(from)) required.add(tensor.id);
        else if (!again.has(from)) {
          visit(from);
          again.add(from);
        }
      }
    };
    for (const node of own) visit(node);
    return { own, nodes: [...again, ...own] };
  });
  return lists.map(({ own, nodes }) => {
    const made = own.flatMap((node) => Object.values(node.outputs).map((tensor) => ({ node, tensor })));
    return {
      nodes,
      kept: made.filter(({ node, tensor }) => !isStats(node) && required.has(tensor.id)).map(({ tensor }) => tensor),
      stats: made.filter(({ node }) => isStats(node)).map(({ tensor }) => tensor),
    };
  });
}
