/** The weights of a transformer, as its graph asks for them. */
import { Graph } from "../../graph/graph.ts";
import { padTo } from "../../graph/packing.ts";
import { weightsOf } from "../../graph/weights-of.ts";
import type { TransformerConfig } from "./config.ts";
import { describeSequence, learnedPositions, recordBlock, recordTransformer } from "./forward.ts";

/** How a state dict orders them: as a module is built, its weight before its bias. */
const ORDER = [
  ..."patch_embed proj text_proj pos_embedding time_embedding ofs_embedding linear linear_1 linear_2 transformer_blocks".split(" "),
  ..."norm1 norm2 norm attn1 to_q to_k to_v to_out norm_q norm_k ff net norm_final norm_out proj_out weight bias".split(" "),
];

/** Every weight by its published name, with its shape. */
export function transformerWeights(c: TransformerConfig): Map<string, number[]> {
  const graph = new Graph("transformer");
  // The smallest sequence asks for the same weights as any other, but for learned positions, which fix its size.
  const [frames, size] = [c.patch_size_t ?? 1, c.patch_size];
  recordTransformer(
    graph,
    { ...c, use_learned_positional_embeddings: false },
    {
      latents: graph.input("latents", [1, frames, c.in_channels, size, size]),
      text: graph.input("text", [1, c.max_text_seq_length, c.text_embed_dim]),
      timestep: graph.input("timestep", [1]),
      ...(c.ofs_embed_dim === null ? {} : { ofs: graph.input("ofs", [1]) }),
    },
    "f32",
  );
  if (c.use_learned_positional_embeddings) learnedPositions(graph, c);
  return weightsOf(graph, ORDER);
}

/** Those of one block, by their names within it. */
export function blockWeights(c: TransformerConfig): Map<string, number[]> {
  const graph = new Graph("block");
  const sequence = describeSequence(graph, c, { batch: 1, textLength: 1, videoTokens: 1, rotary: null });
  const hidden = graph.input("hidden", [2, c.num_attention_heads * c.attention_head_dim]);
  recordBlock(graph, c, "block", hidden, graph.input("conditioning", [1, padTo(c.time_embed_dim, 4)]), sequence, "f32");
  return new Map([...weightsOf(graph, ORDER)].map(([name, shape]) => [name.slice("block.".length), shape]));
}
