/** How near the plans of the published models come to the least memory that there can be; widths as published, pictures small. */
import { describe, expect, test } from "vitest";
import { compile, type Plan } from "../../src/plan/compile.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { parseT5Config } from "../../src/models/t5/config.ts";
import { t5Graph } from "../../src/models/t5/model.ts";
import { parseTransformerConfig } from "../../src/models/cogvideox/config.ts";
import { parseVaeConfig } from "../../src/models/vae/config.ts";
import { vaeGraphs } from "../../src/models/vae/batches.ts";
import { denoiseGraph } from "../../src/models/cogvideox/model.ts";
import { testGpu } from "../support/gpu.ts";

const weights = { type: () => "f32" as const };
const XXL = { d_model: 4096, d_kv: 64, d_ff: 10240, num_layers: 3, num_heads: 64, vocab_size: 32128, feed_forward_proj: "gated-gelu" };
const denoise = (config: object, dtype: "f32" | "f16" = "f32"): Graph =>
  denoiseGraph(
    parseTransformerConfig({ ...config, num_layers: 4 }),
    weights,
    { samples: 1, frames: 3, height: 24, width: 32, textLength: 226, guidance: true, stochastic: false },
    dtype,
  );
const vae = (part: "encode" | "decode", frames: number, side: number, dtype: "f32" | "f16" = "f32"): Graph[] =>
  vaeGraphs(parseVaeConfig({}), weights, {
    part,
    batch: 1,
    frames,
    height: side,
    width: side,
    format: part === "decode" ? "rgba" : "sample",
    dtype,
  }).graphs;

/** The limits of a GPU: this machine's own may cut the work otherwise. */
const gpuCaps = async () => ({
  ...(await testGpu()).caps,
  kind: "hardware" as const,
  f16: true,
  maxBindingBytes: 2 ** 31,
  maxBufferBytes: 2 ** 32,
});

/** Bytes of the activations' arenas, as a multiple of the largest set of activations alive at once. */
async function share(graph: Graph, kind: "hardware" | "software"): Promise<number> {
  const {
    steps,
    bytes: { activations, lowerBound },
  } = compile(graph, { ...(await gpuCaps()), kind });
  // Weights of a checkpoint are packed while they load, and every token is in a segment.
  expect(
    steps.filter(({ dispatch: { kernel } }) => ["pack_operand", "zero_rows"].includes(kernel.name)).map((step) => step.node.name),
  ).toEqual([]);
  return activations / lowerBound;
}

describe("planned activation memory", () => {
  test.each([
    ["T5", () => [t5Graph(parseT5Config(XXL), weights, { batch: 2, length: 226, dtype: "f32" })]],
    ["T5, f16", () => [t5Graph(parseT5Config(XXL), weights, { batch: 2, length: 226, dtype: "f16" })]],
    ["transformer 2B", () => [denoise({ num_attention_heads: 30 })]],
    ["transformer 2B, f16", () => [denoise({ num_attention_heads: 30 }, "f16")]],
    ["transformer 5B", () => [denoise({ num_attention_heads: 48, use_rotary_positional_embeddings: true })]],
    ["transformer 5B, f16", () => [denoise({ num_attention_heads: 48, use_rotary_positional_embeddings: true }, "f16")]],
    ["VAE decoder", () => vae("decode", 5, 16)],
    ["VAE decoder, f16", () => vae("decode", 5, 16, "f16")],
    ["VAE encoder", () => vae("encode", 17, 128)],
    ["VAE encoder, f16", () => vae("encode", 17, 128, "f16")],
  ])("%s: the largest live set, within a hundredth; on a CPU adapter within a tenth", async (_, graphs) => {
    for (const graph of graphs()) expect(await share(graph, "hardware"), graph.name).toBeLessThan(1.01);
    // Its attention copies the values, a part of the heads at a time.
    for (const graph of graphs()) expect(await share(graph, "software"), graph.name).toBeLessThan(1.1);
  });

  /**
   * The most is alive in the feed-forward layer: the hidden state, its norm, and 4 of the inner state. Attention needs 5, for q and k are
   * normalised where they were projected and v is not copied; and layers add to the hidden state in place.
   */
  test("a transformer holds six hidden states", async () => {
    const { lowerBound } = compile(denoise({ num_attention_heads: 30 }), await gpuCaps()).bytes;
    const rows = 2 * (226 + 3 * 12 * 16);
    const state = rows * 1920 * 4;
    expect(lowerBound).toBeGreaterThanOrEqual(6 * state);
    expect(lowerBound).toBeLessThan(6.1 * state);
  });

  test("latents and the frames that a VAE keeps are there once, and no frame is copied from batch to batch", async () => {
    const caps = await gpuCaps();
    const sample = 3 * 16 * 24 * 32 * 4;
    const denoising = compile(denoise({ num_attention_heads: 30 }), caps);
    expect(denoising.bytes.states).toBe(sample);
    expect([...denoising.graph.inputs.keys(), ...denoising.graph.outputs.keys()]).toEqual(["text", "timestep", "coefficients"]);
    for (const graphs of [vae("decode", 6, 16), vae("encode", 24, 64)]) {
      const [first, again] = graphs.map((graph) => compile(graph, caps)) as [Plan, Plan];
      expect(first.bytes.states).toBeGreaterThan(1e6);
      expect(again.bytes.states).toBe(first.bytes.states);
      for (const { graph, copies, bytes } of [first, again]) {
        expect(copies).toEqual([]);
        expect(graph.updates.size).toBe(graph.states.size);
        expect([...graph.inputs.keys(), ...graph.outputs.keys()]).toEqual(["x", "y"]);
        expect(bytes.io).toBeLessThan(bytes.states);
      }
    }
  });
});
