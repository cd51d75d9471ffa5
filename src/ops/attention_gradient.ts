/**
 * attention_gradient: the gradients of attention with respect to q, k and v, from its result and log-sum-exp. Weights are computed again,
 * tile by tile, once to sum dq over keys and once to sum dk and dv over queries. Kernels: kernels/attention/.
 */
import {
  attentionDkvFlash,
  attentionDkvOctet,
  attentionDkvSubgroupMatrix,
  attentionDqFlash,
  attentionDqOctet,
  attentionDqSubgroupMatrix,
  attentionRows,
  transposePanels,
} from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, type DType, isFloat } from "../graph/dtype.ts";
import type { Dispatch, Op, View } from "../graph/op.ts";
import type { Tensor, TensorSpec } from "../graph/tensor.ts";
import { PANEL, padTo } from "../graph/packing.ts";
import { choiceKey } from "../plan/choice.ts";
import { dispatch, foldGrid, MAX_DISPATCH_FLOPS, rowView, type RowWindow, rowWindows } from "../plan/dispatch.ts";
import { assertClips, clipTileList } from "./attention/clips.ts";
import { type FlashTile, gradientCandidates, type GradientVariant, type OctetTile } from "./attention/gradient_variants.ts";
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
    /** Vectors of 16 rows that a head has in panels: of k for dq, of q and dy for dk and dv. One binding holds those of a head. */
    const panelBytes = (rows: number) => 4 * d * padTo(rows, PANEL);
    const turns = Math.max(panelBytes(rowsK), 2 * panelBytes(rowsQ)) <= caps.maxBindingBytes;
    const candidates = gradientCandidates(caps, d, q.dtype === "f16").filter(({ name }) => turns || name !== "octet");
    const choose = (name: string) => target.choose(choiceKey(name, { rows: heads * rowsQ, keys }, { d }, [q.dtype]), candidates);
    const forQueries = attrs.dq ? choose("attention_dq") : undefined;
    const forKeys = attrs.dkv ? choose("attention_dkv") : undefined;
    const element = bytesOf[q.dtype];
    const rowBytes = 4 * (d + 4);
    const turned = Math.max(forQueries?.name === "octet" ? panelBytes(rowsK) : 0, forKeys?.name === "octet" ? 2 * panelBytes(rowsQ) : 0);
    // A third of the heads at a time: the rows of dy by head are then no more than a third of a hidden state beside those there are.
    const windows = rowWindows(caps, heads, [rowsQ * d * element, rowsK * d * element], 0, {
      most: Math.max(1, Math.min(Math.ceil(heads / 3), Math.floor(caps.maxBindingBytes / Math.max(rowsQ * rowBytes, turned)))),
      what: "heads",
    });
    const most = windows.reduce((n, w) => Math.max(n, w.count), 0);
    /** dy by head as a kernel reads it: in halves where it has matrices. */
    const formats = [...new Set([forQueries, forKeys].flatMap((v) => (v ? [v.name === "subgroup_matrix"] : [])))];
    const rowsAs = new Map(formats.map((half) => [half, target.scratch([most, rowsQ, half ? d / 2 + 4 : d + 4], "f32")] as const));
    const rowsFor = (variant: GradientVariant) => rowsAs.get(variant.name === "subgroup_matrix")!;
    const panels = turned ? target.scratch([most, turned / 4], "f32") : undefined;
    const out: Dispatch[] = [];

    /** Lists of tiles, a dispatch each, as constants. */
    const lists = (name: string, tiles: readonly GradientTile[], runs: readonly number[], flops: number) =>
      inDispatches(tiles, flops * d * most, MAX_DISPATCH_FLOPS[caps.kind]).map((part, i) => {
        const words = Uint32Array.from([...part.flatMap(({ words }) => words), ...runs]);
        return { count: part.length, pairs: pairsOf(part), tiles: target.constant(`${name}${i}`, words, [words.length / 4, 4]) };
      });
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

    /** The `part`-th panels of this window's heads, from rows that are `stride` values apart. */
    const turn = (w: RowWindow, part: number, x: Tensor | View, dtype: DType, count: number, stride: number): void => {
      const bytes = w.count * panelBytes(count);
      const vectors = bytes / 16;
      out.push(
        dispatch({
          kernel: transposePanels,
          types: { X: dtype, Y: "f32" },
          params: { d, rows: count, count: vectors, stride },
          bindings: { x, y: { tensor: panels!, offset: part * bytes, bytes } },
          grid: foldGrid(Math.ceil(vectors / 64), caps),
          cost: { flops: 0, bytes: w.count * count * d * (bytesOf[dtype] + 4) },
        }),
      );
    };

    for (const w of windows) {
      for (const part of rowWindows(caps, rowsQ, [heads * d * bytesOf[y.dtype], heads * d * bytesOf[dy.dtype]])) {
        const { start, count } = part;
        for (const [half, rows] of rowsAs)
          out.push(
            dispatch({
              kernel: attentionRows,
              types: { Y: y.dtype, G: dy.dtype },
              consts: { HALF: +half },
              params: { d4: d / 4, rows_q: rowsQ, row_base: start, count, heads: w.count, head_base: w.start, heads_total: heads },
              bindings: { y: rowView(y, part, heads * d), dy: rowView(dy, part, heads * d), lse, rows },
              grid: foldGrid(Math.ceil((count * w.count) / 64), caps),
              cost: { flops: 2 * count * w.count * d, bytes: count * w.count * (d * (bytesOf[y.dtype] + bytesOf[dy.dtype]) + rowBytes) },
            }),
          );
      }
      const types = { X: q.dtype };
      const params = { d4: d / 4, rows_q: rowsQ, rows_k: rowsK, heads: w.count, scale };
      const bindings = { q: rowView(q, w, rowsQ * d), k: rowView(k, w, rowsK * d), v: rowView(v, w, rowsK * d) };
      const common = (flops: number, { count, pairs }: { count: number; pairs: number }, results: readonly Tensor[]) => ({
        params: { ...params, tiles: count },
        grid: foldGrid(count * w.count, caps),
        cost: {
          flops: flops * d * w.count * pairs,
          bytes: w.count * (rowsQ * rowBytes + [q, k, v, ...results].reduce((n, tensor) => n + tensor.bytes, 0) / heads),
        },
      });
      const tileOf = ({ own, walk, rows }: FlashTile) => ({ D4: d / 4, OWN: own, WALK: walk, ROWS: rows });
      const octetOf = ({ wg }: OctetTile) => ({ types, consts: { D8: Math.ceil(d / 8) }, overrides: { WG: wg } });

      if (forQueries?.name === "octet") turn(w, 0, bindings.k, k.dtype, rowsK, d);
      for (const list of queryLists) {
        const bound = { ...bindings, rows: rowsFor(forQueries!), tiles: list.tiles, dq: rowView(dq, w, rowsQ * d) };
        const all = common(6, list, [dq]);
        if (forQueries!.name === "octet")
          out.push(dispatch({ kernel: attentionDqOctet, ...all, ...octetOf(forQueries!), bindings: { ...bound, panels: panels! } }));
        else if (forQueries!.name === "subgroup_matrix")
          out.push(dispatch({ kernel: attentionDqSubgroupMatrix, ...all, bindings: bound, consts: forQueries!.consts }));
        else out.push(dispatch({ kernel: attentionDqFlash, ...all, types, bindings: bound, consts: tileOf(forQueries!) }));
      }
      if (forKeys?.name === "octet") {
        turn(w, 0, bindings.q, q.dtype, rowsQ, d);
        turn(w, 1, rowsFor(forKeys), "f32", rowsQ, d + 4);
      }
      for (const list of keyLists) {
        const bound = {
          ...bindings,
          rows: rowsFor(forKeys!),
          tiles: list.tiles,
          dk: rowView(dk, w, rowsK * d),
          dv: rowView(dv, w, rowsK * d),
        };
        const all = common(8, list, [dk, dv]);
        if (forKeys!.name === "octet")
          out.push(dispatch({ kernel: attentionDkvOctet, ...all, ...octetOf(forKeys!), bindings: { ...bound, panels: panels! } }));
        else if (forKeys!.name === "subgroup_matrix")
          out.push(dispatch({ kernel: attentionDkvSubgroupMatrix, ...all, bindings: bound, consts: forKeys!.consts }));
        else out.push(dispatch({ kernel: attentionDkvFlash, ...all, types, bindings: bound, consts: tileOf(forKeys!) }));
      }
    }
    return out;
  },
};
