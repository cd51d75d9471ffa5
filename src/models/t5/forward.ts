/**
 * The T5 v1.1 encoder: pre-norm blocks of self-attention with a learned position bias and a gated feed-forward layer.
 *
 *   B batch, S tokens, C width (d_model), N heads, D head width (d_kv), F feed-forward width (d_ff)
 *
 * CogVideoX calls it without a mask: padding is attended to like any token, and the transformer sees its states.
 * The residual stream and everything in the feed-forward layer are f32 whatever the storage type: trained T5 passes
 * 1e5 there, beyond f16.
 */
import type { DType } from "../../graph/dtype.ts";
import type { Graph } from "../../graph/graph.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { attention, batchSegments } from "../../ops/attention.ts";
import { embedding } from "../../ops/embedding.ts";
import { gatedGelu } from "../../ops/gated_gelu.ts";
import { matmul } from "../../ops/matmul.ts";
import { relativeBias } from "../../ops/relative_bias.ts";
import { rmsNorm } from "../../ops/rms_norm.ts";
import type { T5Config } from "./config.ts";

/** The table of the vocabulary, by its published name. */
export const EMBEDDING = "shared.weight";

export interface RecordT5Options {
  /** Storage type of activations that f16 can hold. Default f32. */
  dtype?: DType;
  /** [V, C]: what ids name rows of. Default the weight, whole. */
  table?: Tensor;
}

/** inputIds [B, S] u32 → last hidden state [B, S, C] f32. */
export function recordT5(graph: Graph, config: T5Config, inputIds: Tensor, options: RecordT5Options = {}): Tensor {
  const { vocab_size, d_model: c, num_heads: heads, num_layers, layer_norm_epsilon: eps } = config;
  const { dtype = "f32", table: words } = options;
  return graph.scope("encoder", () => {
    let hidden_BSC = embedding(inputIds, words ?? graph.weight(EMBEDDING, [vocab_size, c]));
    const table = graph.weight("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", [
      config.relative_attention_num_buckets,
      heads,
    ]);
    const bias = relativeBias(table, { length: inputIds.dim(1), maxDistance: config.relative_attention_max_distance });
    for (let i = 0; i < num_layers; i++)
      hidden_BSC = graph.scope(`block.${i}`, () => recordT5Block(graph, config, i, hidden_BSC, bias, dtype));
    return rmsNorm(hidden_BSC, graph.weight("encoder.final_layer_norm.weight", [c]), { eps });
  });
}

/** Block i: hidden [B, S, C] f32, bias [N, 2S − 1] → [B, S, C] f32. */
export function recordT5Block(graph: Graph, config: T5Config, i: number, hidden: Tensor, bias: Tensor, dtype: DType): Tensor {
  const { d_model: c, d_kv: d, d_ff: f, num_heads: heads, layer_norm_epsilon: eps } = config;
  const [batch, length] = hidden.shape as [number, number, number];
  const inner = heads * d;
  const attend = `encoder.block.${i}.layer.0`;
  const x_BSC = rmsNorm(hidden, graph.weight(`${attend}.layer_norm.weight`, [c]), { eps, dtype });
  const byHead = (n: string) => matmul(x_BSC, graph.weight(`${attend}.SelfAttention.${n}.weight`, [inner, c]), { heads: d, dtype });
  // T5 does not scale its scores.
  const mixed = attention(byHead("q"), byHead("k"), byHead("v"), { segments: batchSegments(batch, length), scale: 1, bias, dtype });
  const attended_BSC = matmul(graph.reshape(mixed, [batch, length, inner]), graph.weight(`${attend}.SelfAttention.o.weight`, [c, inner]), {
    residual: hidden,
  });

  const feed = `encoder.block.${i}.layer.1`;
  const z_BSC = rmsNorm(attended_BSC, graph.weight(`${feed}.layer_norm.weight`, [c]), { eps, dtype });
  const gated_BSF = gatedGelu(
    matmul(
      z_BSC,
      graph.weight(
        ["wi_0", "wi_1"].map((n) => `${feed}.DenseReluDense.${n}.weight`),
        [2 * f, c],
      ),
    ),
  );
  return matmul(gated_BSF, graph.weight(`${feed}.DenseReluDense.wo.weight`, [c, f]), { residual: attended_BSC });
}
