/** The blocks of a T5 encoder, each by itself. */
import { Graph } from "../../graph/graph.ts";
import type { SingleLayer } from "../single-layer.ts";
import type { T5Config } from "./config.ts";
import { recordT5Block } from "./forward.ts";

/** @param length tokens, without the position bias, which belongs to the first block */
export function t5Layers(c: T5Config, length = 64): SingleLayer[] {
  const hidden = [1, length, c.d_model] as const;
  return Array.from({ length: c.num_layers }, (_, i) => {
    const name = `encoder.block.${i}`;
    const graph = new Graph(name);
    const bias = graph.constant("bias", new Float32Array(c.num_heads * (2 * length - 1)), [c.num_heads, 2 * length - 1]);
    graph.output("out", recordT5Block(graph, c, i, graph.input("hidden", hidden), bias, "f32"));
    return { name, graph, inputs: [{ name: "hidden", shape: hidden }] };
  });
}
