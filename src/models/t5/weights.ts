/** The weights of a T5 encoder, as its graph asks for them. */
import type { TiedNames } from "../../checkpoint/weight-index.ts";
import { Graph } from "../../graph/graph.ts";
import { weightsOf } from "../../graph/weights-of.ts";
import type { T5Config } from "./config.ts";
import { recordT5 } from "./forward.ts";

/** How a state dict orders them: the embedding, then each block with its attention before its norm. */
const ORDER =
  "shared encoder block layer SelfAttention q k v o relative_attention_bias DenseReluDense wi_0 wi_1 wo layer_norm final_layer_norm".split(
    " ",
  );

/** The token embedding is published under either name, or under both. */
export const TIED_T5_WEIGHTS: TiedNames = [["shared.weight", "encoder.embed_tokens.weight"]];

/**
 * Every weight of the encoder by its published name, with its shape; whoever provides the weights finds {@link TIED_T5_WEIGHTS} under
 * either name.
 */
export function expectedT5Weights(config: T5Config): Map<string, number[]> {
  const graph = new Graph("t5");
  recordT5(graph, config, graph.input("input_ids", [1, 1], "u32"));
  return weightsOf(graph, ORDER);
}
