/** The weights of a T5 encoder, as its graph asks for them. */
import { Graph } from "../../graph/graph.ts";
import { weightsOf } from "../../graph/weights-of.ts";
import type { T5Config } from "./config.ts";
import { recordT5 } from "./forward.ts";

/** How a state dict orders them: the embedding, then each block with its attention before its norm. */
const ORDER =
  "shared encoder block layer SelfAttention q k v o relative_attention_bias DenseReluDense wi_0 wi_1 wo layer_norm final_layer_norm".split(
    " ",
  );

/**
 * Every weight of the encoder by its published name, with its shape. Checkpoints hold the token embedding as
 * `shared.weight`, as `encoder.embed_tokens.weight` or as both; whoever provides the weights finds it under either.
 */
export function expectedT5Weights(config: T5Config): Map<string, number[]> {
  const graph = new Graph("t5");
  recordT5(graph, config, graph.input("input_ids", [1, 1], "u32"));
  return weightsOf(graph, ORDER);
}
