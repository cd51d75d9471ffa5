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
import { channelsFirst, channelsLast } from "../../../ops/channels.ts";
import { conv3dOp } from "../../../ops/conv3d.ts";
import { groupNormMergeOp } from "../../../ops/group_norm_merge.ts";
import { groupNormRecord } from "../../../ops/group_norm_record.ts";
import { groupNormStatsOp } from "../../../ops/group_norm_stats.ts";
import { joinFrames } from "../../../ops/join_frames.ts";
import { pixels } from "../../../ops/pixels.ts";
import type { WeightProvider } from "../../../run/weight-provider.ts";
import { weightTypes, type DecodedFormat } from "../batches.ts";
import type { VaeConfig } from "../config.ts";
import { recordDecoder, recordEncoder, type CausalCaches } from "../forward.ts";
import type { ClipPiece, Unit, VaePart } from "./units.ts";

export interface PieceOptions {
  readonly part: VaePart;
  readonly batch: number;
  /** Of what goes in. */
  readonly height: number;
  readonly width: number;
  readonly format: DecodedFormat;
  readonly dtype: "f32" | "f16";
}

/** The two frames that a causal convolution sees before (hands over after) a piece. */
export interface Halo {
  /** State-dict prefix of the convolution. */
  readonly layer: string;
  /** [B, 2, H, W, C padded]: an input of the graph (what a node makes). */
  readonly frames: Tensor;
  /** Without padding. */
  readonly channels: number;
}

/** A norm whose frame batch is cut. */
export interface CutNorm {
  /** State-dict prefix of the norm. */
  readonly layer: string;
  readonly batch: number;
  /** The workers that hold units of it, in order, and how many each. */
  readonly holders: readonly { readonly worker: number; readonly units: number }[];
  /** Records of the piece's own units [B, own, 3, C padded]. */
  readonly own: Tensor;
  /** Input with those of all units of the batch [B, units, 3, C padded]. */
  readonly all: Tensor;
}

/** Inputs are `x.UNIT` [B, C, T, H, W], outputs `y.UNIT`, by number of the unit. */
export interface PieceGraph {
  readonly graph: Graph;
  readonly units: readonly Unit[];
  readonly piece: ClipPiece;
  readonly halosIn: readonly Halo[];
  readonly halosOut: readonly Halo[];
  readonly norms: readonly CutNorm[];
}

export const inputOf = (unit: Unit): string => `x.${unit.index}`;
export const outputOf = (unit: Unit): string => `y.${unit.index}`;

/** How a clip is dealt out: all its units, and the piece of each worker. */
export interface Deal {
  readonly units: readonly Unit[];
  readonly pieces: readonly ClipPiece[];
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
  const { recorded, numbers, halosIn, halosOut } = recordUnits(config, provider, units, piece, options);
  const order = layerByLayer(recorded, numbers);
  const unitOf = (node: Node): Unit => units[numbers.get(node)!]!;

  const records = new Map<string, Tensor[]>();
  const merged = new Map<string, Readonly<Record<string, Tensor>>>();
  const norms: CutNorm[] = [];
  const { graph, of } = rewrite(recorded, {
    nodes: order,
    outputs: recorded.outputs,
    replace(node, inputs, into) {
      const key = `${node.scope} ${unitOf(node).batch}`;
      if (node.op === groupNormStatsOp) {
        const made = into.record(node.op, inputs, node.attrs);
        records.set(key, [...(records.get(key) ?? []), groupNormRecord(made["stats"]!)]);
        return made;
      }
      if (node.op !== groupNormMergeOp) return undefined;
      const found = merged.get(key);
      if (found) return found;
      const { batch } = unitOf(node);
      const own = joinFrames(records.get(key)!);
      const holders = holdersOf(units, pieces, batch);
      let all = own;
      if (holders.length > 1) {
        const count = holders.reduce((n, holder) => n + holder.units, 0);
        all = into.input(`stats.${key}`, [own.dim(0), count, ...own.shape.slice(2)]);
        norms.push({ layer: node.scope, batch, holders, own, all });
      }
      const made = into.record(node.op, { stats: all }, node.attrs);
      merged.set(key, made);
      return made;
    },
  });
  const renewed = (halos: readonly Halo[]): Halo[] => halos.map((halo) => ({ ...halo, frames: of(halo.frames) }));
  return { graph, units, piece, norms, halosIn: renewed(halosIn), halosOut: renewed(halosOut) };
}

/** The workers that hold units of a frame batch, in order. */
function holdersOf(units: readonly Unit[], pieces: readonly ClipPiece[], batch: number): { worker: number; units: number }[] {
  return pieces.flatMap(({ from, to }, worker) => {
    const held = units.slice(from, to).filter((unit) => unit.batch === batch).length;
    return held ? [{ worker, units: held }] : [];
  });
}

/** Unit after unit, each as a frame batch of its own. */
function recordUnits(
  config: VaeConfig,
  provider: Pick<WeightProvider, "type">,
  units: readonly Unit[],
  piece: ClipPiece,
  { part, batch, height, width, format, dtype }: PieceOptions,
): { recorded: Graph; numbers: ReadonlyMap<Node, number>; halosIn: Halo[]; halosOut: Halo[] } {
  const graph = new Graph(`vae.${part}.piece`, weightTypes(provider));
  const numbers = new Map<Node, number>();
  const channels = part === "encode" ? config.in_channels : config.latent_channels;
  const [halosIn, halosOut]: [Halo[], Halo[]] = [[], []];
  const before = new Map<string, Tensor>();
  for (const unit of units.slice(piece.from, piece.to)) {
    const caches: CausalCaches = {
      ...(unit.index > 0
        ? {
            before(layer, shape, type) {
              const kept = before.get(layer);
              if (kept) return kept;
              const frames = graph.input(`halo.${layer}`, shape, type);
              halosIn.push({ layer, frames, channels: 0 });
              return frames;
            },
          }
        : {}),
      ...(unit.index < units.length - 1
        ? {
            keep(layer, frames, channels) {
              before.set(layer, frames);
              if (unit.index === piece.to - 1) halosOut.push({ layer, frames, channels });
            },
          }
        : {}),
    };
    const first = graph.nodes.length;
    const x = channelsLast(graph.input(inputOf(unit), [batch, channels, unit.frames, height, width]));
    const recorder = { graph, config, dtype, caches, keepFirst: unit.apart };
    if (part === "encode") {
      graph.output(outputOf(unit), channelsFirst(recordEncoder(recorder, x), 2 * config.latent_channels));
    } else {
      const decoded = recordDecoder(recorder, x);
      graph.output(outputOf(unit), format === "sample" ? channelsFirst(decoded, config.out_channels) : pixels(decoded, { format }));
    }
    for (const node of graph.nodes.slice(first)) numbers.set(node, unit.index);
  }
  return { recorded: graph, numbers, halosIn: halosIn.map((halo) => ({ ...halo, channels: channelsBefore(graph, halo) })), halosOut };
}

/** Channels of a convolution's input without padding, as its weight has them. */
function channelsBefore(graph: Graph, { frames }: Halo): number {
  return graph.nodes.find(({ op, inputs }) => op === conv3dOp && inputs["cache"] === frames)!.inputs["w"]!.dim(1);
}

/**
 * The nodes of all units in the order of the layers. What the next piece waits for comes as early as it can; among convolutions the first
 * unit comes last, for it is the one that waits.
 */
function layerByLayer({ nodes }: Graph, numbers: ReadonlyMap<Node, number>): Node[] {
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
  return [...nodes].sort((a, b) => place(a) - place(b) || within(a) - within(b));
}
