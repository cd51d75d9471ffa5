/**
 * attention_gradient: the gradients of attention with respect to q, k and v, from its result and log-sum-exp. Weights are computed again,
 * tile by tile, once to sum dq over keys and once to sum dk and dv over queries. Kernels: kernels/attention/.
 */
import { attentionDkvFlash, attentionDqFlash, attentionRows } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, isFloat } from "../graph/dtype.ts";
import type { Dispatch, Op } from "../graph/op.ts";
import type { Tensor, TensorSpec } from "../graph/tensor.ts";
import { choiceKey } from "../plan/choice.ts";
import { dispatch, foldGrid, MAX_DISPATCH_FLOPS, rowView, rowWindows } from "../plan/dispatch.ts";
import { assertClips, clipTileList } from "./attention/clips.ts";
import { gradientCandidates } from "./attention/gradient_variants.ts";
import { assertSegments, type GradientTile, keyTiles, queryTiles, type Segment } from "./attention/segments.ts";

interface Inputs {
  q: Tensor;
  k: Tensor;
  v: Tensor;
  y: Tensor;
  dy: Tensor;
  lse: Tensor;
  clips?: Tensor | undefined;
}
interface Attrs {
  scale: number;
  segments: readonly Segment[];
  /** Which are wanted: dq, and dk with dv, which one kernel gives. */
  dq: boolean;
  dkv: boolean;
}
type Outputs = "dq" | "dk" | "dv";

export interface AttentionGradientOptions {
  scale: number;
  segments: readonly Segment[];
  /** The operands whose gradients are wanted. */
  want: ReadonlySet<string>;
}

/**
 * q [N, Rq, D], k and v [N, Rk, D], attention's y [Rq, N·D] and lse [N, Rq], and dy, f32 or f16, of the shape of y → the gradients of q, k
 * and v in their shapes and types. A query in no segment has a gradient of zeros, and so has a key that no segment reads.
 */
export function attentionGradient(
  inputs: Inputs,
  { scale, segments, want }: AttentionGradientOptions,
): { q?: Tensor; k?: Tensor; v?: Tensor } {
  const attrs = { scale, segments, dq: want.has("q"), dkv: want.has("k") || want.has("v") };
  const { dq, dk, dv } = inputs.q.graph.record(attentionGradientOp, inputs, attrs);
  return { ...(attrs.dq ? { q: dq } : {}), ...(attrs.dkv ? { k: dk, v: dv } : {}) };
}

/** So many tiles a dispatch that their work stays within the limit. */
function inDispatches(tiles: readonly GradientTile[], flopsOfPair: number, most: number): GradientTile[][] {
  const parts: GradientTile[][] = [];
  let flops = Infinity;
  for (const tile of tiles) {
    flops += tile.pairs * flopsOfPair;
    if (flops > most) {
      parts.push([]);
      flops = tile.pairs * flopsOfPair;
    }
    parts.at(-1)!.push(tile);
  }
  return parts;
}

const pairsOf = (tiles: readonly GradientTile[]): number => tiles.reduce((n, { pairs }) => n + pairs, 0);

export const attentionGradientOp: Op<Inputs, Attrs, Outputs> = {
  name: "attention_gradient",
  infer({ q, k, v, y, dy, lse, clips }, { segments, dq, dkv }) {
    const [heads, rows, d] = q.shape as [number, number, number];
    const refuse = (rule: string, got: string, remedy: string): never => {
      throw new CogwheelError("attention_gradient", `${rule}, got ${got}; ${remedy}`);
    };
    if (k.shape.join() !== v.shape.join() || k.dim(0) !== heads || k.dim(2) !== d || d % 4 || d > 128)
      refuse("q, k, v must be [N, R, D] with the same N and D, a multiple of 4 up to 128", `${q}, ${k}, ${v}`, "reshape them");
    if (q.dtype !== k.dtype || q.dtype !== v.dtype || ![q, y, dy].every(isFloat) || lse.dtype !== "f32")
      refuse("q, k, v must have one dtype, f32 or f16, as y and dy, and lse f32", `${q}, ${k}, ${v}, ${y}, ${dy}, ${lse}`, "convert them");
    if (y.shape.join() !== `${rows},${heads * d}` || dy.shape.join() !== y.shape.join() || lse.shape.join() !== `${heads},${rows}`)
      refuse(`y and dy must be [${rows}, ${heads * d}] and lse [${heads}, ${rows}]`, `${y}, ${dy}, ${lse}`, "give those of attention");
    assertSegments("attention_gradient", segments, rows, k.dim(1));
    if (clips) assertClips("attention_gradient", clips, rows, k.dim(1));
    if (!dq && !dkv) refuse("some gradient must be wanted", "none of q, k, v", "leave the node out");
    const like = ({ shape, dtype }: Tensor): TensorSpec => ({ shape, dtype });
    return { ...(dq ? { dq: like(q) } : {}), ...(dkv ? { dk: like(k), dv: like(v) } : {}) } as Record<Outputs, TensorSpec>;
  },
  cost({ inputs: { q, k, v, y, dy, lse }, attrs, outputs }) {
    const pairs = attrs.segments.reduce((n, s) => n + s.count * s.keyCount, 0);
    const bytes = [q, k, v, y, dy, lse, ...Object.values(outputs)].reduce((n, tensor) => n + tensor.bytes, 0);
    return { flops: ((attrs.dq ? 6 : 0) + (attrs.dkv ? 8 : 0)) * pairs * q.dim(0) * q.dim(2), bytes };
  },
  lower({ inputs: { q, k, v, y, dy, lse, clips }, attrs: { scale, segments, ...attrs }, outputs: { dq, dk, dv } }, target) {
    const { caps } = target;
    const [heads, rowsQ, d] = q.shape as [number, number, number];
    const rowsK = k.dim(1);
    const keys = Math.max(...segments.map((s) => s.keyCount));
    const candidates = gradientCandidates(caps, d);
    const choose = (name: string) => target.choose(choiceKey(name, { rows: heads * rowsQ, keys }, { d }, [q.dtype]), candidates);
    const element = bytesOf[q.dtype];
    const rowBytes = 4 * (d + 4);
    // A third of the heads at a time: the rows of dy by head are then no more than a third of a hidden state beside those there are.
    const windows = rowWindows(caps, heads, [rowsQ * d * element, rowsK * d * element], 0, {
      most: Math.max(1, Math.min(Math.ceil(heads / 3), Math.floor(caps.maxBindingBytes / (rowsQ * rowBytes)))),
      what: "heads",
    });
    const most = windows.reduce((n, w) => Math.max(n, w.count), 0);
    const rows = target.scratch([most, rowsQ, d + 4], "f32");
    const types = { X: q.dtype };
    const out: Dispatch[] = [];

    /** Lists of tiles, a dispatch each, as constants. */
    const lists = (name: string, tiles: readonly GradientTile[], runs: readonly number[], flops: number) =>
      inDispatches(tiles, flops * d * most, MAX_DISPATCH_FLOPS[caps.kind]).map((part, i) => {
        const words = Uint32Array.from([...part.flatMap(({ words }) => words), ...runs]);
        return { count: part.length, pairs: pairsOf(part), tiles: target.constant(`${name}${i}`, words, [words.length / 4, 4]) };
      });
    const forQueries = attrs.dq ? choose("attention_dq") : undefined;
    const forKeys = attrs.dkv ? choose("attention_dkv") : undefined;
    /** The same of clips that a run is given, made on the device; how long they are is not known, but that none is longer than all. */
    const clipLists = (height: number, flops: number, runs: boolean) =>
      rowWindows(caps, rowsQ, [4], flops * d * most * rowsQ).map((window) => {
        const list = clipTileList(clips!, height, window, target, runs);
        out.push(list.dispatch);
        return { ...list, pairs: window.count * rowsQ };
      });
    const queryLists = !forQueries
      ? []
      : clips
        ? clipLists(forQueries.own, 6, false)
        : lists("queries", queryTiles(segments, forQueries.own, rowsQ), [], 6);
    const byKeys = forKeys && !clips ? keyTiles(segments, forKeys.own, rowsK) : undefined;
    const keyLists = byKeys ? lists("keys", byKeys.tiles, byKeys.runs, 8) : forKeys ? clipLists(forKeys.own, 8, true) : [];

    for (const w of windows) {
      for (const part of rowWindows(caps, rowsQ, [heads * d * bytesOf[y.dtype], heads * d * bytesOf[dy.dtype]])) {
        out.push(
          dispatch({
            kernel: attentionRows,
            types: { Y: y.dtype, G: dy.dtype },
            params: {
              d4: d / 4,
              rows_q: rowsQ,
              row_base: part.start,
              count: part.count,
              heads: w.count,
              head_base: w.start,
              heads_total: heads,
            },
            bindings: { y: rowView(y, part, heads * d), dy: rowView(dy, part, heads * d), lse, rows },
            grid: foldGrid(Math.ceil((part.count * w.count) / 64), caps),
            cost: {
              flops: 2 * part.count * w.count * d,
              bytes: part.count * w.count * (d * bytesOf[y.dtype] + d * bytesOf[dy.dtype] + rowBytes),
            },
          }),
        );
      }
      const params = { d4: d / 4, rows_q: rowsQ, rows_k: rowsK, heads: w.count, scale };
      const bindings = { q: rowView(q, w, rowsQ * d), k: rowView(k, w, rowsK * d), v: rowView(v, w, rowsK * d), rows };
      const costOf = (flops: number, pairs: number, tensors: readonly Tensor[]) => ({
        flops: flops * d * w.count * pairs,
        bytes: w.count * (rowsQ * rowBytes + [q, k, v, ...tensors].reduce((n, tensor) => n + tensor.bytes, 0) / heads),
      });
      const tileOf = ({ own, walk, rows }: { own: number; walk: number; rows: number }) => ({
        D4: d / 4,
        OWN: own,
        WALK: walk,
        ROWS: rows,
      });
      for (const { count, pairs, tiles } of queryLists) {
        const common = { params: { ...params, tiles: count }, grid: foldGrid(count * w.count, caps), cost: costOf(6, pairs, [dq]) };
        const bound = { ...bindings, tiles, dq: rowView(dq, w, rowsQ * d) };
        out.push(dispatch({ kernel: attentionDqFlash, ...common, types, bindings: bound, consts: tileOf(forQueries!) }));
      }
      for (const { count, pairs, tiles } of keyLists) {
        const common = { params: { ...params, tiles: count }, grid: foldGrid(count * w.count, caps), cost: costOf(8, pairs, [dk, dv]) };
        const bound = { ...bindings, tiles, dk: rowView(dk, w, rowsK * d), dv: rowView(dv, w, rowsK * d) };
        out.push(dispatch({ kernel: attentionDkvFlash, ...common, types, bindings: bound, consts: tileOf(forKeys!) }));
      }
    }
    return out;
  },
};
