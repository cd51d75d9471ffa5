/** matmul_tn: y = aᵀ · b, a sum over tokens, such as the gradient with respect to the weight of a product. Kernels: kernels/matmul/. */
import { matmulTnOctet, matmulTnQuad, matmulTnSubgroupMatrix, matmulTnTiled } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import { bytesOf, isFloat } from "../graph/dtype.ts";
import type { Dispatch, Op, Target, View } from "../graph/op.ts";
import { padTo } from "../graph/packing.ts";
import type { Tensor } from "../graph/tensor.ts";
import { choiceKey } from "../plan/choice.ts";
import { dispatch, foldGrid, rowView, type RowWindow, rowWindows } from "../plan/dispatch.ts";
import { type MatmulTnVariant, matmulTnCandidates } from "./matmul/tn-variants.ts";
import { sumParts } from "./reduce/parts.ts";
import { tileConsts } from "./tiles/register-tile.ts";

interface Inputs {
  a: Tensor;
  b: Tensor;
}
interface Attrs {
  shape: readonly [number, number];
}

/**
 * a [..., P] and b [..., Q] of M tokens, f32 or f16, each padded to a multiple of 4 columns → [P, Q] f32.
 * @param shape P and Q as they are without padding. Default: as wide as a and b.
 */
export function matmulTn(a: Tensor, b: Tensor, shape: readonly [number, number] = [a.dim(-1), b.dim(-1)]): Tensor {
  return a.graph.record(matmulTnOp, { a, b }, { shape }).y;
}

/** What any kernel stages at once. */
const TOKENS_AT_ONCE = 64;

/** Rows of y that a window begins at multiples of: whole vectors of a token. */
const UNIT = 8;

export const matmulTnOp: Op<Inputs, Attrs, "y"> = {
  name: "matmul_tn",
  infer({ a, b }, { shape: [p, q] }) {
    if (!isFloat(a) || !isFloat(b) || a.dim(-1) !== padTo(p, 4) || b.dim(-1) !== padTo(q, 4) || a.size * b.dim(-1) !== b.size * a.dim(-1))
      throw new CogwheelError(
        "matmul_tn",
        "a [..., P] and b [..., Q] must be f32 or f16 of as many tokens, with columns padded to a multiple of 4, " +
          `got ${a} and ${b} for [${p}, ${q}]; reshape or pad them`,
      );
    return { y: { shape: [p, q], dtype: "f32" } };
  },
  cost({ inputs: { a, b }, outputs: { y } }) {
    return { flops: 2 * a.size * b.dim(-1), bytes: a.bytes + b.bytes + y.bytes };
  },
  lower({ inputs: { a, b }, outputs: { y } }, target) {
    const [p, q] = y.shape as [number, number];
    // The narrower one is what tiles are low of; y is stored the other way round then.
    const transposed = q < p && q < 64;
    const [rows, columns] = transposed ? [b, a] : [a, b];
    const m = a.size / a.dim(-1);
    const { caps } = target;
    const [low, wide] = transposed ? [q, p] : [p, q];
    const candidates = matmulTnCandidates(caps, { p: low, q: wide, half: a.dtype === "f16" && b.dtype === "f16" });
    const variant = target.choose(choiceKey("matmul_tn", { m }, { p: low, q: wide }, [rows.dtype, columns.dtype]), candidates);
    const width = padTo(q, 4);
    const bytes = [4 * UNIT * width, 4 * UNIT * q];
    return rowWindows(caps, Math.ceil(p / UNIT), bytes, 2 * UNIT * q * m, { what: "rows of y" }).flatMap((window) => {
      const part = { start: window.start * UNIT, count: Math.min(window.count * UNIT, p - window.start * UNIT) };
      return windowOf({ rows, columns, y, part, transposed, m }, variant, target);
    });
  },
};

interface Work {
  /** The operand whose columns a tile is `bm` of, and the other. */
  readonly rows: Tensor;
  readonly columns: Tensor;
  readonly y: Tensor;
  /** Rows of y. */
  readonly part: RowWindow;
  readonly transposed: boolean;
  readonly m: number;
}

/** Some rows of y: every window of tokens adds to the same parts, which are summed at the end; or to y, where there is one part. */
function windowOf({ rows, columns, y, part, transposed, m }: Work, variant: MatmulTnVariant, target: Target): Dispatch[] {
  const { caps } = target;
  const q = y.dim(1);
  const width = padTo(q, 4);
  const [low, wide] = transposed ? [q, part.count] : [part.count, q];
  const tiles = Math.ceil(low / variant.bm) * Math.ceil(wide / variant.bn);
  const splits = splitsOf(caps, tiles, m, part.count * width * 4);
  const direct = splits === 1 && q === width;
  const sums = direct ? y : target.scratch([splits, part.count, width], "f32");
  const out: View = direct ? rowView(y, part, q) : { tensor: sums };
  const tokens = rowWindows(
    caps,
    m,
    [rows.dim(-1) * bytesOf[rows.dtype], columns.dim(-1) * bytesOf[columns.dtype]],
    2 * part.count * width,
  );
  const first = part.start / 4;
  const dispatches = tokens.map((window, i) => {
    const chunk = padTo(Math.ceil(window.count / splits), TOKENS_AT_ONCE);
    const common = {
      bindings: { a: rowView(rows, window, rows.dim(-1)), b: rowView(columns, window, columns.dim(-1)), y: out },
      params: {
        m: window.count,
        chunk,
        a4: rows.dim(-1) / 4,
        b4: columns.dim(-1) / 4,
        p: low,
        q: wide,
        p_first: transposed ? 0 : first,
        q_first: transposed ? first : 0,
        tiles,
        groups: tiles * splits,
        part4: (part.count * width) / 4,
        stride4: width / 4,
      },
      grid: foldGrid(tiles * splits, caps),
    };
    const types = { A: rows.dtype, B: columns.dtype };
    const switches = { TRANSPOSED: +transposed, ACCUMULATE: +(i > 0) };
    if (variant.name === "octet")
      return dispatch({ kernel: matmulTnOctet, ...common, types, consts: switches, overrides: { WG: variant.wg } });
    if (variant.name === "quad")
      return dispatch({ kernel: matmulTnQuad, ...common, types, consts: switches, overrides: { WG: variant.wg } });
    if (variant.name === "tiled")
      return dispatch({ kernel: matmulTnTiled, ...common, types, consts: { ...switches, ...tileConsts(variant) } });
    return dispatch({ kernel: matmulTnSubgroupMatrix, ...common, consts: { ...switches, ...variant.consts } });
  });
  return direct ? dispatches : [...dispatches, ...sumParts(caps, sums, y, { columns: q, stride: width }, part)];
}

/** Workgroups that fill an adapter, and tokens that one has at least: fewer are not worth a part of the sums. */
const ENOUGH = { hardware: 256, software: 16 } as const;
const TOKENS = 128;

function splitsOf(caps: Capabilities, tiles: number, tokens: number, partBytes: number): number {
  const most = Math.min(Math.floor(tokens / TOKENS), Math.floor(caps.maxBindingBytes / partBytes));
  return Math.max(1, Math.min(Math.ceil(ENOUGH[caps.kind] / tiles), most));
}
