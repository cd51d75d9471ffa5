/**
 * A worker's strip of a picture as a graph: rows of it, batch of frames after batch of frames. What a convolution reads beyond the strip
 * comes from the workers above and below while the run is under way.
 *
 * A norm is that of the whole picture. Each frame gives one record for every row of latents, and a batch's records are merged frame by
 * frame from top to bottom, so that they do not depend on where the picture is cut.
 */
import { CogwheelError } from "../../../base/errors.ts";
import type { Graph } from "../../../graph/graph.ts";
import type { Node } from "../../../graph/op.ts";
import { rewrite } from "../../../graph/rewrite.ts";
import type { Tensor } from "../../../graph/tensor.ts";
import { causalCacheOp } from "../../../ops/causal_cache.ts";
import { conv3dOp, type ConvAttrs } from "../../../ops/conv3d.ts";
import { convReach, type ConvNode } from "../../../ops/conv3d/geometry.ts";
import { groupNormMergeOp } from "../../../ops/group_norm_merge.ts";
import { groupNormRecord } from "../../../ops/group_norm_record.ts";
import { groupNormStats, groupNormStatsOp } from "../../../ops/group_norm_stats.ts";
import { joinFrames } from "../../../ops/join_frames.ts";
import { sliceTokens } from "../../../ops/slice_tokens.ts";
import { channelsFirstIn } from "../exact/cut.ts";
import type { ExchangeGraph, Halo, SharedNorm } from "./exchange-graph.ts";
import type { ClipPiece } from "./units.ts";

/** Strips of so many rows of latents, one for each worker; more workers than rows are refused. */
export function stripsOf(rows: number, workers: number): ClipPiece[] {
  if (!Number.isInteger(workers) || workers < 1)
    throw new CogwheelError("vae", `workers must be a whole number from 1 up, got ${workers}; give at most one for each row of latents`);
  if (workers > rows)
    throw new CogwheelError(
      "vae",
      `a picture is split in space into whole rows of latents, at most ${rows} for this one, got ${workers} workers; use up to ${rows}`,
    );
  return Array.from({ length: workers }, (_, i) => ({
    from: Math.floor((i * rows) / workers),
    to: Math.floor(((i + 1) * rows) / workers),
  }));
}

/** @param recorded a frame batch of the whole picture, of so many rows of latents */
export function stripGraph(recorded: Graph, rows: number, strips: readonly ClipPiece[], worker: number): ExchangeGraph {
  const first = channelsFirstIn(recorded);
  /** The rows of a picture that are a worker's. */
  const rowsOf = (tensor: Tensor, of: number): { top: number; bottom: number } => {
    const scale = tensor.dim(first.has(tensor.id) ? 3 : 2) / rows;
    return { top: strips[of]!.from * scale, bottom: strips[of]!.to * scale };
  };
  /** How many rows above and below its own a worker's part of a convolution reads, and its padding. */
  const reach = (node: Node, of: number): { above: number; below: number; pad: ConvAttrs["pad"] } => {
    const y = Object.values(node.outputs)[0]!;
    const x = node.inputs["x"]!;
    const { region, pad } = convReach(node as unknown as ConvNode, { ...rowsOf(y, of), left: 0, right: y.dim(3) });
    const own = rowsOf(x, of);
    return { above: own.top - region.top, below: region.bottom - own.bottom, pad };
  };
  const causal = new Map(
    recorded.nodes.filter(({ op, inputs }) => op === conv3dOp && inputs["w"]!.shape.length === 5).map((node) => [node.scope, node]),
  );
  const gives: Halo[] = [];
  const takes: Halo[] = [];
  const norms: SharedNorm[] = [];
  const extended = new Map<Tensor, Tensor>();

  /** What a convolution reads: the strip between what comes from above and below. Gives what the others read of this one. */
  function withHalo(x: Tensor, node: Node, into: Graph): Tensor {
    if (node.inputs["w"]!.dim(-2) === 1) return x;
    const found = extended.get(x);
    if (found) return found;
    const [b, t, h, w, padded] = x.shape as [number, number, number, number, number];
    const channels = node.inputs["w"]!.dim(1);
    const flat = into.reshape(x, [b * t, h, w * padded]);
    const name = (from: number, to: number): string => `${node.scope}, rows of ${from} for ${to}`;
    const part = (other: number, first: number, count: number): void => {
      const tensor = sliceTokens(flat, { first, count });
      gives.push({ region: name(worker, other), worker: other, tensor, padded, channels, dtype: x.dtype });
    };
    const brought = (other: number, count: number): Tensor => {
      const tensor = into.input(`halo.${name(other, worker)}`, [b * t, count, w * padded], x.dtype);
      takes.push({ region: name(other, worker), worker: other, tensor, padded, channels, dtype: x.dtype });
      return tensor;
    };
    const { above, below } = reach(node, worker);
    if (worker > 0) {
      const wanted = reach(node, worker - 1).below;
      if (wanted) part(worker - 1, 0, wanted);
    }
    if (worker < strips.length - 1) {
      const wanted = reach(node, worker + 1).above;
      if (wanted) part(worker + 1, h - wanted, wanted);
    }
    const parts = [...(above ? [brought(worker - 1, above)] : []), flat, ...(below ? [brought(worker + 1, below)] : [])];
    const whole = parts.length > 1 ? into.reshape(joinFrames(parts), [b, t, h + above + below, w, padded]) : x;
    extended.set(x, whole);
    return whole;
  }

  const { graph } = rewrite(recorded, {
    name: `${recorded.name}.strip`,
    bring(tensor, into) {
      const shape = [...tensor.shape];
      const { top, bottom } = rowsOf(tensor, worker);
      if (tensor.role === "state") {
        // What a convolution keeps of its last frames it keeps halo and all.
        const { above, below } = reach(causal.get(tensor.name.replace(/^conv_cache\./, ""))!, worker);
        shape[2] = above + bottom - top + below;
        return into.state(tensor.name, shape, tensor.dtype);
      }
      shape[first.has(tensor.id) ? 3 : 2] = bottom - top;
      return into.input(tensor.name, shape, tensor.dtype);
    },
    replace(node, inputs, into) {
      if (node.op === conv3dOp) {
        const { pad } = reach(node, worker);
        return into.record(node.op, { ...inputs, x: withHalo(inputs["x"]!, node, into) }, { ...(node.attrs as ConvAttrs), pad });
      }
      if (node.op === causalCacheOp)
        return into.record(node.op, { ...inputs, x: withHalo(inputs["x"]!, causal.get(node.scope)!, into) }, node.attrs);
      if (node.op === groupNormStatsOp) {
        const [b, t, h, w, c] = inputs["x"]!.shape as [number, number, number, number, number];
        const bands = strips[worker]!.to - strips[worker]!.from;
        const rowsOfBand = into.reshape(inputs["x"]!, [b * t * bands, h / bands, w, c]);
        return { stats: into.reshape(groupNormRecord(groupNormStats(rowsOfBand)), [b, t * bands, 3, c]) };
      }
      if (node.op !== groupNormMergeOp || strips.length === 1) return undefined;
      const stats = inputs["stats"]!;
      const [b, own, , c] = stats.shape as [number, number, number, number];
      const frames = own / (strips[worker]!.to - strips[worker]!.from);
      const all = into.input(`stats.${node.scope}`, [b, frames * rows, 3, c]);
      norms.push({ region: `norm ${node.scope}`, holders: [...strips.keys()], own: stats.root, all, outer: b * frames });
      return into.record(node.op, { stats: all }, node.attrs);
    },
  });
  return { graph, gives, takes, norms };
}
