/** The blocks of a transformer, each by itself. */
import { Graph } from "../../graph/graph.ts";
import { padTo } from "../../graph/packing.ts";
import type { SingleLayer } from "../single-layer.ts";
import type { TransformerConfig } from "./config.ts";
import { describeSequence, recordBlock } from "./forward.ts";

/** @param tokens of text and of video, whose positions are left out */
export function transformerLayers(c: TransformerConfig, tokens = { textLength: 16, videoTokens: 48 }): SingleLayer[] {
  const hidden = [tokens.textLength + tokens.videoTokens, c.num_attention_heads * c.attention_head_dim] as const;
  const conditioning = [1, padTo(c.time_embed_dim, 4)] as const;
  return Array.from({ length: c.num_layers }, (_, i) => {
    const name = `transformer_blocks.${i}`;
    const graph = new Graph(name);
    const sequence = describeSequence(graph, c, { batch: 1, ...tokens, rotary: null });
    graph.output(
      "out",
      recordBlock(graph, c, name, graph.input("hidden", hidden), graph.input("conditioning", conditioning), sequence, "f32"),
    );
    return {
      name,
      graph,
      inputs: [
        { name: "hidden", shape: hidden },
        { name: "conditioning", shape: conditioning, silu: true },
      ],
    };
  });
}
