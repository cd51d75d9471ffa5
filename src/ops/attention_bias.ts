/** attention_bias: softmax(q·kᵀ + bias) · v without scaling and without a matrix of scores in memory: T5's attention. */
import { attentionBiasFlash, attentionBiasQuad } from "#kernels";
import { CogwheelError } from "../errors.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import { choiceKey } from "../graph/choice.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../graph/dispatch.ts";
import { bytesOf, type DType, type Op, type Tensor } from "../graph/graph.ts";

interface Inputs { qkv: Tensor; bias: Tensor }
interface Attrs { dtype: DType }

export interface AttentionBiasOptions {
  /** Storage type of the result. Default f32. */
  dtype?: DType;
}

/**
 * qkv [B, S, 3·N·D]: queries, keys, values of all heads side by side; bias [N, 2S − 1] f32, by key − query + S − 1
 * ({@link relativeBias}) → [B, S, N·D]. D: a multiple of 4 up to 128. All keys are seen: T5 runs without a mask here.
 */
export function attentionBias(qkv: Tensor, bias: Tensor, options: AttentionBiasOptions = {}): Tensor {
  return qkv.graph.record(attentionBiasOp, { qkv, bias }, { dtype: options.dtype ?? "f32" }).y;
}

export const attentionBiasOp: Op<Inputs, Attrs, "y"> = {
  name: "attention_bias",
  infer({ qkv, bias }, { dtype }) {
    const [batch, length, width] = qkv.shape as [number, number, number];
    const heads = bias.dim(0);
    if (qkv.shape.length !== 3 || width % (3 * heads)) throw new CogwheelError("attention_bias", `qkv must be [B, S, 3·N·D] for the bias's ${heads} heads, got ${qkv}; join q, k and v along their last axis`);
    const d = width / 3 / heads;
    if (d % 4 || d > 128) throw new CogwheelError("attention_bias", `the head width must be a multiple of 4 up to 128, got ${d}; choose another`);
    if (bias.dtype !== "f32" || bias.dim(1) !== 2 * length - 1) throw new CogwheelError("attention_bias", `the bias must be f32 [N, ${2 * length - 1}] for ${length} positions, got ${bias}; make it with relativeBias`);
    return { y: { shape: [batch, length, width / 3], dtype } };
  },
  cost({ inputs: { qkv, bias }, outputs: { y } }) {
    return { flops: 4 * y.size * y.dim(1), bytes: qkv.bytes + bias.bytes + y.bytes };
  },
  lower({ inputs: { qkv, bias }, outputs: { y } }, target) {
    const { caps } = target;
    const [batch, length, inner] = y.shape as [number, number, number];
    const heads = bias.dim(0);
    const d = inner / heads;
    const variant = target.choose(choiceKey("attention_bias", { rows: batch * heads * length, keys: length }, { d }, [qkv.dtype, y.dtype]), attentionBiasCandidates(caps, d));
    const tiles = Math.ceil(length / variant.bq);
    const types = { X: qkv.dtype, Y: y.dtype };
    return rowWindows(caps, batch, [length * 3 * inner * bytesOf[qkv.dtype], length * inner * bytesOf[y.dtype]]).map((part) => {
      const bindings = { qkv: rowView(qkv, part, length * 3 * inner), bias, y: rowView(y, part, length * inner) };
      if (variant.name === "quad") {
        const chunks = Math.ceil(d / 32);
        const groups = part.count * heads * chunks * tiles;
        return dispatch({
          kernel: attentionBiasQuad, types, bindings,
          consts: { COLUMNS: Math.min(8, d / 4) }, overrides: { WG: variant.wg },
          params: { length, heads, d4: d / 4, chunks, tiles, groups },
          grid: foldGrid(groups, caps),
        });
      }
      const groups = part.count * heads * tiles;
      return dispatch({
        kernel: attentionBiasFlash, types, bindings,
        consts: { D4: d / 4, BQ: variant.bq, BK: variant.bk },
        params: { length, heads, tiles, groups },
        grid: foldGrid(groups, caps),
      });
    });
  },
};

export type AttentionBiasVariant = { name: "quad"; bq: number; wg: number } | { name: "flash"; bq: number; bk: number };

/**
 * Every kernel that an adapter can run for a head width, the one that is taken without a measurement first: CPU adapters prefer the one
 * without workgroup memory, GPUs the largest tile that their memory holds.
 */
export function attentionBiasCandidates(caps: Capabilities, d: number): AttentionBiasVariant[] {
  const bytes = (bq: number, bk: number) => 4 * (bq * d + bk * (d + 4) + bq * (bk + 4) + 2 * bq);
  const tiles = ([[32, 32], [32, 16], [16, 16]] as const).filter(([bq, bk]) => bytes(bq, bk) <= caps.maxWorkgroupBytes);
  const wg = caps.subgroups?.max ?? 0;
  const candidates: AttentionBiasVariant[] = [
    ...(caps.kind === "software" && caps.subgroups && caps.subgroups.min >= 4 ? [{ name: "quad", bq: 2 * wg, wg } as const] : []),
    ...tiles.map(([bq, bk]) => ({ name: "flash", bq, bk }) as const),
  ];
  if (candidates.length === 0) throw new CogwheelError("attention_bias", `head width ${d} needs ${bytes(16, 16)} bytes of workgroup memory, got ${caps.maxWorkgroupBytes} on this adapter; use another adapter`);
  return candidates;
}
