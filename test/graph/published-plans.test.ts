/** How near the plans of the published models come to the least memory that there can be; widths as published, pictures small. */
import { describe, expect, test } from "vitest";
import { compile } from "../../src/graph/compile.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { parseT5Config } from "../../src/models/t5/config.ts";
import { t5Graph } from "../../src/models/t5/encoder.ts";
import { parseTransformerConfig } from "../../src/models/transformer/config.ts";
import { parseVaeConfig } from "../../src/models/vae/config.ts";
import { vaeGraphs } from "../../src/models/vae/graphs.ts";
import { denoiseGraph } from "../../src/pipelines/denoiser.ts";
import { testGpu } from "../support/gpu.ts";

const weights = { type: () => "f32" as const };
const XXL = { d_model: 4096, d_kv: 64, d_ff: 10240, num_layers: 3, num_heads: 64, vocab_size: 32128, feed_forward_proj: "gated-gelu" };
const denoise = (config: object): Graph =>
  denoiseGraph(parseTransformerConfig({ ...config, num_layers: 4 }), weights, { samples: 1, frames: 3, height: 24, width: 32, textLength: 226, guidance: true, stochastic: false }, "f32");
const vae = (part: "encode" | "decode", frames: number, side: number): Graph[] =>
  vaeGraphs(parseVaeConfig({}), weights, { part, batch: 1, frames, height: side, width: side, format: part === "decode" ? "rgba" : "sample", dtype: "f32" }).graphs;

/** Bytes of the activations' arenas, as a multiple of the largest set of activations alive at once. */
async function share(graph: Graph): Promise<number> {
  // The limits of a GPU: this machine's own may cut the work otherwise.
  const caps = { ...(await testGpu()).caps, kind: "hardware" as const, maxBindingBytes: 2 ** 31, maxBufferBytes: 2 ** 32 };
  const { activations, lowerBound } = compile(graph, caps).bytes;
  return activations / lowerBound;
}

describe("planned activation memory", () => {
  test.each([
    ["T5", () => [t5Graph(parseT5Config(XXL), weights, { batch: 2, length: 226, dtype: "f32" })]],
    ["VAE decoder", () => vae("decode", 5, 16)],
    ["VAE encoder", () => vae("encode", 17, 128)],
  ])("%s: within a tenth of the largest live set", async (_, graphs) => {
    for (const graph of graphs()) expect(await share(graph), graph.name).toBeLessThan(1.1);
  });

  /**
   * In units of one hidden state, 7 are alive at once: hidden, 3 of qkv, and q, k, v. But no buffer may be read and written by one
   * dispatch, and 8 is the least under that rule. Let I be the arena of the 4 of the feed-forward's inner state, J that of the
   * attended state. The block's result is computed from both, so it lies in a third, K, and is the next hidden state. Then qkv
   * in I leaves 3 of q, k, v beside the hidden state to J and K (4 + 4); qkv in J or K needs 3 or 4 there and 4 or 3 elsewhere.
   */
  test.each([["2B", { num_attention_heads: 30 }], ["5B", { num_attention_heads: 48, use_rotary_positional_embeddings: true }]])("transformer %s: the least that aliasing allows", async (_, config) => {
    const least = 8 / 7;
    const got = await share(denoise(config));
    expect(got).toBeLessThan(1.01 * least);
  });
});
