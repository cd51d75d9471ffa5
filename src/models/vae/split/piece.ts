/**
 * A worker's piece of a clip as one graph: its units, layer by layer, all resident. Within a piece a unit's convolutions look back on the
 * unit before as one frame batch does on another. Where a piece begins inside the clip, the frames before it are inputs that come while
 * the run is under way, and where it ends inside, what the next piece looks back on is taken while the run goes on.
 *
 * A norm is that of a frame batch. Every unit gives one record of its values (count, mean, squared deviations, channel by channel), and a
 * batch's records are merged in the order of its units; where pieces cut a batch, the records of the others are an input.
 */
import { Graph } from "../../../graph/graph.ts";
import type { Node } from "../../../graph/op.ts";
import { rewrite } from "../../../graph/rewrite.ts";
import type { Tensor } from "../../../graph/tensor.ts";
import { channelsLast } from "../../../ops/channels.ts";
import { conv3dOp } from "../../../ops/conv3d.ts";
import { groupNormMergeOp } from "../../../ops/group_norm_merge.ts";
import { groupNormRecord } from "../../../ops/group_norm_record.ts";
import { groupNormStatsOp } from "../../../ops/group_norm_stats.ts";
import { joinFrames } from "../../../ops/join_frames.ts";
import type { WeightProvider } from "../../../run/weight-provider.ts";
import { inputChannels, recordPart, weightTypes } from "../batches.ts";
import type { VaeConfig } from "../config.ts";
import type { CausalCaches } from "../forward.ts";
import type { ExchangeGraph, Halo, PieceOptions, SharedNorm } from "./exchange-graph.ts";
import type { ClipPiece, Unit } from "./units.ts";

/** Inputs are `x.UNIT` [B, C, T, H, W], outputs `y.UNIT`, by number of the unit. */
export const inputOf = (unit: Unit): string => `x.${unit.index}`;
export const outputOf = (unit: Unit): string => `y.${unit.index}`;

/** How a clip is dealt out: all its units, and the piece of each worker. */
export interface Deal {
  readonly units: readonly Unit[];
  readonly pieces: readonly ClipPiece[];
}

/** A node of a piece, with the unit that it computes and its place among the layers; a norm's merge is of the first of its units. */
export interface PieceStep {
  readonly node: Node;
  readonly unit: Unit;
  readonly layer: number;
}

export interface PieceGraph extends ExchangeGraph {
  /** But for what joins records. */
  readonly steps: readonly PieceStep[];
}

/** The graph of one worker's piece. */
export function pieceGraph(
  config: VaeConfig,
  provider: Pick<WeightProvider, "type">,
  { units, pieces }: Deal,
  worker: number,
  options: PieceOptions,
): PieceGraph {
  const piece = pieces[worker]!;
  const { recorded, numbers, takes, gives } = recordUnits(config, provider, units, piece, worker, options);
  const { order, layerOf } = layerByLayer(recorded, numbers);
  const unitOf = (node: Node): Unit => units[numbers.get(node)!]!;

  const records = new Map<string, Tensor[]>();
  const merged = new Map<string, Readonly<Record<string, Tensor>>>();
  const norms: SharedNorm[] = [];
  const steps: PieceStep[] = [];
  const step = (node: Node, inputs: Node["inputs"], into: Graph): Readonly<Record<string, Tensor>> => {
    const made = into.record(node.op, inputs, node.attrs);
    steps.push({ node: into.nodes.at(-1)!, unit: unitOf(node), layer: layerOf(node) });
    return made;
  };
  const { graph, of } = rewrite(recorded, {
    nodes: order,
    outputs: recorded.outputs,
    replace(node, inputs, into) {
      const key = `${node.scope} ${unitOf(node).batch}`;
      if (node.op === groupNormStatsOp) {
        const made = step(node, inputs, into);
        records.set(key, [...(records.get(key) ?? []), groupNormRecord(made["stats"]!)]);
        return made;
      }
      if (node.op !== groupNormMergeOp) return step(node, inputs, into);
      const found = merged.get(key);
      if (found) return found;
      const { batch } = unitOf(node);
      const holders = holdersOf(units, pieces, batch);
      const names = { input: `stats.${key}`, region: `norm ${node.scope} of batch ${batch}` };
      const made = step(node, { stats: recordsOfBatch(into, records.get(key)!, holders, names, norms) }, into);
      merged.set(key, made);
      return made;
    },
  });
  const renewed = (halos: readonly Halo[]): Halo[] => halos.map((halo) => ({ ...halo, tensor: of(halo.tensor) }));
  return { graph, norms, takes: renewed(takes), gives: renewed(gives), steps };
}

/** The workers that hold units of a frame batch, in order. */
export function holdersOf(units: readonly Unit[], pieces: readonly ClipPiece[], batch: number): { worker: number; units: number }[] {
  return pieces.flatMap(({ from, to }, worker) => {
    const held = units.slice(from, to).filter((unit) => unit.batch === batch).length;
    return held ? [{ worker, units: held }] : [];
  });
}

/**
 * The records of a whole batch: those of a worker's own units, joined, where it holds them all; an input otherwise, which is added to what
 * is shared. @param holders those of {@link holdersOf}
 */
export function recordsOfBatch(
  graph: Graph,
  records: readonly Tensor[],
  holders: readonly { worker: number; units: number }[],
  names: { readonly input: string; readonly region: string },
  shared: SharedNorm[],
): Tensor {
  const own = joinFrames(records);
  if (holders.length === 1) return own;
  const count = holders.reduce((n, { units }) => n + units, 0);
  const all = graph.input(names.input, [own.dim(0), count, ...own.shape.slice(2)]);
  shared.push({ region: names.region, holders: holders.map(({ worker }) => worker), own: own.root, all, outer: own.dim(0) });
  return all;
}

/** Unit after unit, each as a frame batch of its own. */
function recordUnits(
  config: VaeConfig,
  provider: Pick<WeightProvider, "type">,
  units: readonly Unit[],
  piece: ClipPiece,
  worker: number,
  { part, batch, height, width, format, dtype }: PieceOptions,
): { recorded: Graph; numbers: ReadonlyMap<Node, number>; takes: Halo[]; gives: Halo[] } {
  const graph = new Graph(`vae.${part}.piece`, weightTypes(provider));
  const numbers = new Map<Node, number>();
  const channels = inputChannels(config, part);
  const [takes, gives]: [Halo[], Halo[]] = [[], []];
  const halo = (layer: string, tensor: Tensor, other: number, channels: number): Halo => ({
    region: `before ${layer}`,
    worker: other,
    tensor,
    padded: tensor.dim(-1),
    channels,
    dtype: tensor.dtype,
  });
  const before = new Map<string, Tensor>();
  for (const unit of units.slice(piece.from, piece.to)) {
    const caches: CausalCaches = {
      ...(unit.index > 0
        ? {
            before(layer, shape, type) {
              const kept = before.get(layer);
              if (kept) return kept;
              const frames = graph.input(`halo.${layer}`, shape, type);
              takes.push(halo(layer, frames, worker - 1, 0));
              return frames;
            },
          }
        : {}),
      ...(unit.index < units.length - 1
        ? {
            keep(layer, frames, channels) {
              before.set(layer, frames);
              if (unit.index === piece.to - 1) gives.push(halo(layer, frames, worker + 1, channels));
            },
          }
        : {}),
    };
    const first = graph.nodes.length;
    const x = channelsLast(graph.input(inputOf(unit), [batch, channels, unit.frames, height, width]));
    const recorder = { graph, config, dtype, caches, keepFirst: unit.apart };
    graph.output(outputOf(unit), recordPart(recorder, part, x, format));
    for (const node of graph.nodes.slice(first)) numbers.set(node, unit.index);
  }
  return { recorded: graph, numbers, takes: takes.map((one) => ({ ...one, channels: channelsBefore(graph, one) })), gives };
}

/** Channels of a convolution's input without padding, as its weight has them. */
function channelsBefore(graph: Graph, { tensor }: Halo): number {
  return graph.nodes.find(({ op, inputs }) => op === conv3dOp && inputs["cache"] === tensor)!.inputs["w"]!.dim(1);
}

/**
 * The nodes of all units in the order of the layers. What the next piece waits for comes as early as it can; among convolutions the first
 * unit comes last, for it is the one that waits.
 */
function layerByLayer({ nodes }: Graph, numbers: ReadonlyMap<Node, number>): { order: Node[]; layerOf: (node: Node) => number } {
  const counts = new Map<string, number>();
  const keys = new Map<Node, string>();
  const lists = new Map<number, string[]>();
  for (const node of nodes) {
    const unit = numbers.get(node)!;
    const name = `${unit} ${node.scope} ${node.op.name}`;
    const nth = counts.get(name) ?? 0;
    counts.set(name, nth + 1);
    const key = `${node.scope} ${node.op.name} ${nth}`;
    keys.set(node, key);
    lists.set(unit, [...(lists.get(unit) ?? []), key]);
  }
  // The last unit of a clip keeps nothing; all others have the same nodes.
  const longest = [...lists.values()].reduce((a, b) => (b.length > a.length ? b : a));
  const rank = new Map(longest.map((key, i) => [key, i]));
  const place = (node: Node): number => rank.get(keys.get(node)!)!;
  const within = (node: Node): number => (node.op === conv3dOp ? -numbers.get(node)! : numbers.get(node)!);
  return { order: [...nodes].sort((a, b) => place(a) - place(b) || within(a) - within(b)), layerOf: place };
}
