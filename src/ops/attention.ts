/** attention: softmax(scale · q·kᵀ + bias) · v over segments, without a matrix of scores in memory. Kernels: kernels/attention/. */
import { attentionFlash, attentionOctet, attentionQuad, attentionSubgroupMatrix, transposePanels, zeroColumns, zeroRows } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import { bytesOf, type DType, isFloat } from "../graph/dtype.ts";
import type { Dispatch, Op } from "../graph/op.ts";
import type { Tensor, TensorSpec } from "../graph/tensor.ts";
import { choiceKey } from "../plan/choice.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";
import { PANEL, padTo } from "../graph/packing.ts";
import { assertSegments, batchSegments, longest, padding, type Segment, tilesOf } from "./attention/segments.ts";
import { assertClips, clipTileList } from "./attention/clips.ts";

export { batchSegments, type Segment };

interface Inputs {
  q: Tensor;
  k: Tensor;
  v: Tensor;
  bias: Tensor | undefined;
  clips?: Tensor | undefined;
}
interface Attrs {
  dtype: DType;
  scale: number;
  /** Not read where there are clips. */
  segments: readonly Segment[];
  /** Is the log-sum-exp of every query's scores a result too? Its gradient asks for it. */
  lse: boolean;
}

/** What `attention` takes beside queries, keys and values. */
export interface AttentionOptions {
  /**
   * Which queries see which keys. Default: all see all. A batch is a list of segments, and so are packed clips. A query is in one
   * segment at most; one that is in none is padding, and its row of the result is zeros. Or a list of clips that a run is given.
   */
  segments?: readonly Segment[] | ClipList;
  /** Default 1 / √D. */
  scale?: number;
  /**
   * f32 [N, 2L − 1], L the length of the longest segment (of queries or keys): added to a head's scaled scores by key − query + L − 1, both
   * counted from their segment's first ({@link relativeBias}). Default: none.
   */
  bias?: Tensor;
  /** Storage type of the result. Default f32. */
  dtype?: DType;
}

/**
 * Clips that each attend to themselves, as an input: u32 [S, 2], the first row and the rows of each, which cover all rows once. The graph
 * is then one for every mix of clips. A clip may have no rows; rows of no clip have no defined result.
 */
export interface ClipList {
  readonly clips: Tensor;
}

/** q [N, Rq, D], k and v [N, Rk, D] → [Rq, N·D]. D: a multiple of 4 up to 128. */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  const { segments: given = batchSegments(1, q.dim(1), k.dim(1)), scale = 1 / Math.sqrt(q.dim(2)), dtype = "f32" } = options;
  const { clips } = "clips" in given ? given : { clips: undefined };
  const segments = "clips" in given ? batchSegments(1, q.dim(1)) : given;
  return q.graph.record(attentionOp, { q, k, v, bias: options.bias, clips }, { dtype, scale, segments, lse: false }).y;
}

/** `lse` f32 [N, Rq]: log Σ exp(score) over the keys that a query sees, zero where it is in no segment; only where the attributes ask. */
export const attentionOp: Op<Inputs, Attrs, "y" | "lse"> = {
  name: "attention",
  infer({ q, k, v, bias, clips }, { dtype, segments, lse }) {
    const [heads, rows, d] = q.shape as [number, number, number];
    if (k.shape.join() !== v.shape.join() || k.dim(0) !== heads || k.dim(2) !== d)
      throw new CogwheelError("attention", `q, k, v must be [N, R, D] with the same N and D, got ${q}, ${k}, ${v}; reshape them`);
    if (d % 4 || d > 128)
      throw new CogwheelError("attention", `the head width must be a multiple of 4 up to 128, got ${d}; choose another number of heads`);
    if (q.dtype !== k.dtype || q.dtype !== v.dtype)
      throw new CogwheelError("attention", `q, k, v must have one dtype, got ${q.dtype}, ${k.dtype}, ${v.dtype}; convert them`);
    if (!isFloat(q)) throw new CogwheelError("attention", `q, k, v must be f32 or f16, got ${q}; convert them`);
    assertSegments("attention", segments, rows, k.dim(1));
    if (clips) assertClips("attention", clips, rows, k.dim(1));
    if (clips && bias)
      throw new CogwheelError("attention", `a bias counts from segments that are known, got ${bias} with ${clips}; name the segments`);
    const span = 2 * longest(segments) - 1;
    if (bias && (bias.dtype !== "f32" || bias.shape.join() !== `${heads},${span}`))
      throw new CogwheelError(
        "attention",
        `the bias must be f32 [${heads}, ${span}] for ${heads} heads and segments of up to ${longest(segments)} positions, ` +
          `got ${bias}; make it with relativeBias for that length`,
      );
    const y = { shape: [rows, heads * d], dtype };
    return (lse ? { y, lse: { shape: [heads, rows], dtype: "f32" } } : { y }) as { y: TensorSpec; lse: TensorSpec };
  },
  cost({ inputs: { q, k, v, bias }, attrs, outputs: { y, lse } }) {
    const pairs = attrs.segments.reduce((n, s) => n + s.count * s.keyCount, 0);
    const read = q.bytes + k.bytes + v.bytes + (bias?.bytes ?? 0);
    return { flops: 4 * pairs * q.dim(0) * q.dim(2), bytes: read + y.bytes + (attrs.lse ? lse.bytes : 0) };
  },
  lower({ inputs: { q, k, v, bias, clips }, attrs, outputs: { y, lse } }, target) {
    const { caps } = target;
    const [heads, rowsQ, d] = q.shape as [number, number, number];
    const rowsK = k.dim(1);
    const keys = Math.max(...attrs.segments.map((s) => s.keyCount));
    const variant = target.choose(
      choiceKey("attention", { rows: heads * rowsQ, keys }, { d }, [q.dtype, y.dtype]),
      attentionCandidates(caps, d, q.dtype === "f16" && attrs.scale > 0),
    );
    const types = { X: q.dtype, Y: y.dtype };
    const panels = Math.ceil(rowsK / PANEL);
    const out: Dispatch[] = [];
    const element = bytesOf[q.dtype];
    const headFlops = 4 * d * attrs.segments.reduce((n, s) => n + s.count * s.keyCount, 0);
    // Kernels for CPU adapters read values in panels, a third of the heads at a time: no arena that attention reads or writes can hold
    // the copy of all, which would be a seventh hidden state beside the six that a transformer needs.
    const turns = variant.name === "octet" || variant.name === "quad";
    const windows = rowWindows(caps, heads, [rowsQ * d * element, rowsK * d * element, padTo(rowsK, PANEL) * d * element], headFlops, {
      most: turns ? Math.ceil(heads / 3) : heads,
      what: "heads",
    });
    const turned = turns ? target.scratch([windows.reduce((most, w) => Math.max(most, w.count), 0), panels, d, PANEL], v.dtype) : undefined;
    // One head alone may be too much work for a dispatch: then its queries are split too.
    const rowsOfY = rowWindows(caps, rowsQ, [heads * d * bytesOf[y.dtype]], headFlops / rowsQ);
    for (const rows of rowsOfY) {
      const list = padding(attrs.segments, rows.start, rows.count);
      if (list.length === 0) continue;
      const c4 = (heads * d) / 4;
      out.push(
        dispatch({
          kernel: zeroRows,
          types: { Y: y.dtype },
          params: { count: list.length, c4, row_base: rows.start },
          bindings: { rows: target.constant("padding", list, [list.length]), y: rowView(y, rows, heads * d) },
          grid: foldGrid(Math.ceil((list.length * c4) / 64), caps),
          cost: { flops: 0, bytes: list.length * heads * d * bytesOf[y.dtype] },
        }),
      );
    }
    const alone = attrs.lse ? padding(attrs.segments, 0, rowsQ) : [];
    if (alone.length)
      out.push(
        dispatch({
          kernel: zeroColumns,
          params: { count: alone.length, rows: heads, row: rowsQ },
          bindings: { columns: target.constant("alone", Uint32Array.from(alone), [alone.length]), y: lse },
          grid: foldGrid(Math.ceil((alone.length * heads) / 64), caps),
          cost: { flops: 0, bytes: 4 * alone.length * heads },
        }),
      );
    // Whatever a kernel may write must be bound, and is not written without the attribute.
    const logs = attrs.lse ? lse : target.scratch([64], "f32");
    const LSE = +attrs.lse;
    const lists = rowsOfY.flatMap((rows) => {
      if (clips) {
        const list = clipTileList(clips, variant.bq, rows, target);
        out.push(list.dispatch);
        return [{ rows, ...list }];
      }
      const { tiles, list } = tilesOf(attrs.segments, variant.bq, rows.start, rows.count, !!bias);
      return tiles ? [{ rows, count: tiles, tiles: target.constant("tiles", list, [list.length / 4, 4]) }] : [];
    });
    for (const w of windows) {
      const panelsHere = turned && rowView(turned, { start: 0, count: w.count }, panels * PANEL * d);
      if (panelsHere) {
        const count = w.count * panels * d * (PANEL / 4);
        out.push(
          dispatch({
            kernel: transposePanels,
            types: { X: v.dtype, Y: v.dtype },
            params: { d, rows: rowsK, count, stride: d },
            bindings: { x: rowView(v, w, rowsK * d), y: panelsHere },
            grid: foldGrid(Math.ceil(count / 64), caps),
            cost: { flops: 0, bytes: 2 * w.count * rowsK * d * element },
          }),
        );
      }
      for (const { rows, count, tiles } of lists) {
        const bindings = {
          q: rowView(q, w, rowsQ * d),
          k: rowView(k, w, rowsK * d),
          v: panelsHere ?? rowView(v, w, rowsK * d),
          tiles,
          bias: bias ?? tiles,
          y: rowView(y, rows, heads * d),
          lse: logs,
        };
        const params = {
          d4: d / 4,
          rows_q: rowsQ,
          rows_k: rowsK,
          heads: w.count,
          head_base: w.start,
          heads_total: heads,
          tiles: count,
          row_base: rows.start,
          scale: attrs.scale,
          longest: longest(attrs.segments),
        };
        const BIAS = +!!bias;
        const common = { params, bindings, grid: foldGrid(count * w.count, caps) };
        if (variant.name === "octet") {
          const consts = { D8: Math.ceil(d / 8), BIAS, LSE };
          out.push(dispatch({ kernel: attentionOctet, ...common, types, consts, overrides: { WG: variant.wg } }));
        } else if (variant.name === "quad") {
          const consts = { D16: Math.ceil(d / 16), BIAS, LSE };
          out.push(dispatch({ kernel: attentionQuad, ...common, types, consts, overrides: { WG: variant.wg } }));
        } else if (variant.name === "subgroup_matrix") {
          const consts = { ...variant.consts, BIAS, LSE };
          out.push(dispatch({ kernel: attentionSubgroupMatrix, ...common, types: { Y: y.dtype }, consts }));
        } else {
          const consts = { D4: d / 4, BQ: variant.bq, BK: variant.bk, BIAS, LSE };
          out.push(dispatch({ kernel: attentionFlash, ...common, types, consts }));
        }
      }
    }
    return out;
  },
};

/** `bq`: queries of a workgroup. */
export type AttentionVariant =
  | { name: "octet"; bq: number; wg: number }
  | { name: "quad"; bq: number; wg: number }
  | { name: "flash"; bq: number; bk: number }
  | { name: "subgroup_matrix"; bq: number; consts: MatrixConsts };

/** Constants of `attention_subgroup_matrix`. */
interface MatrixConsts {
  MM: number;
  NN: number;
  KK: number;
  SUBGROUP: number;
  SGS: number;
  SM: number;
  D: number;
  BK: number;
}

/**
 * Every kernel that an adapter can run for a head width, the one that is taken without a measurement first. CPU adapters prefer those
 * without workgroup memory, by their number of lanes (of 8, lavapipe runs `octet` twice as fast as `quad`). GPUs take subgroup matrices
 * for f16 where they have them, else the largest tile that their workgroup memory holds. `half`: q, k, v are f16, and the scale is
 * positive.
 */
export function attentionCandidates(caps: Capabilities, d: number, half: boolean): AttentionVariant[] {
  const lanes = caps.kind === "software" ? (caps.subgroups?.min ?? 0) : 0;
  const wg = caps.subgroups?.max ?? 0;
  const matrix = half ? matrixVariant(caps, d) : undefined;
  const bytes = (bq: number, bk: number) => 4 * ((bq + bk) * (d + 4) + bq * (bk + 4) + (bq * bk) / 4);
  const tiles = (
    [
      [64, 32],
      [64, 16],
      [32, 16],
      [16, 16],
      [8, 16],
    ] as const
  ).filter(([bq, bk]) => bytes(bq, bk) <= caps.maxWorkgroupBytes);
  const candidates: AttentionVariant[] = [
    ...(lanes >= 8 ? [{ name: "octet", bq: 4 * wg, wg } as const] : []),
    ...(lanes >= 4 ? [{ name: "quad", bq: 4 * wg, wg } as const] : []),
    ...(matrix ? [matrix] : []),
    ...tiles.map(([bq, bk]) => ({ name: "flash", bq, bk }) as const),
  ];
  if (candidates.length === 0)
    throw new CogwheelError(
      "attention",
      `head width ${d} needs ${bytes(8, 16)} bytes of workgroup memory, ` +
        `got ${caps.maxWorkgroupBytes} on this adapter; choose another adapter`,
    );
  return candidates;
}

/**
 * Sixteen rows a subgroup, or as many as it has lanes; as many subgroups, up to four, and keys at once, up to four
 * matrices, as the memory holds.
 */
function matrixVariant(caps: Capabilities, d: number): AttentionVariant | undefined {
  const lanes = caps.subgroups?.max ?? 0;
  const odd = (n: number) => n + 1 - (n % 2);
  for (const { m, n, k } of caps.subgroupMatrices) {
    if (d % k || d % n || d % 8) continue;
    const SM = m === 8 && lanes >= 16 ? 2 : 1;
    for (const [SGS, BK] of [
      [4, 4 * n],
      [4, 32],
      [2, 32],
      [1, 32],
    ] as const) {
      const bq = SGS * SM * m;
      const words = Math.max(bq * (BK / 4 + 1), bq * odd(d / 8), SGS * m * (n / 4 + 1)) + BK * odd(d / 8) + d * odd(BK / 8);
      if (
        lanes < SM * m ||
        BK / 8 < lanes / (SM * m) ||
        SGS * lanes > caps.maxWorkgroupInvocations ||
        16 * words + 4 * bq + 4 > caps.maxWorkgroupBytes
      )
        continue;
      return { name: "subgroup_matrix", bq, consts: { MM: m, NN: n, KK: k, SUBGROUP: lanes, SGS, SM, D: d, BK } };
    }
  }
  return undefined;
}
