/** Plans within a limit of memory: what is foretold of them is what `compile` makes, and every byte of the limit is used that can be. */
import { describe, expect, it } from "vitest";
import type { Graph } from "../../src/graph/graph.ts";
import { parseTransformerConfig } from "../../src/models/cogvideox/config.ts";
import { denoiseGraph } from "../../src/models/cogvideox/model.ts";
import { parseT5Config } from "../../src/models/t5/config.ts";
import { t5Graph } from "../../src/models/t5/model.ts";
import { compile } from "../../src/plan/compile.ts";
import { bytesWith, layersOf, leastResidence, residenceWithin } from "../../src/plan/residence.ts";
import { testGpu } from "../support/gpu.ts";

const weights = { type: () => "f32" as const };
const t5 = (): Graph =>
  t5Graph(
    parseT5Config({ d_model: 64, d_kv: 16, d_ff: 128, num_layers: 7, num_heads: 4, vocab_size: 99, feed_forward_proj: "gated-gelu" }),
    weights,
    { batch: 2, length: 12 },
  );
const transformer = (): Graph =>
  denoiseGraph(
    parseTransformerConfig({ num_attention_heads: 4, attention_head_dim: 16, num_layers: 6, text_embed_dim: 24, max_text_seq_length: 10 }),
    weights,
    { samples: 1, frames: 2, height: 8, width: 8, textLength: 10, guidance: true, stochastic: false },
    "f32",
  );

describe.each([
  ["T5", t5, "encoder.block", 7],
  ["transformer", transformer, "transformer_blocks", 6],
] as const)("%s", (_name, graph, prefix, count) => {
  it("has its layers in order, each with its own matrices", async () => {
    const layers = layersOf(compile(graph(), (await testGpu()).caps));
    expect(layers.map(({ name }) => name)).toEqual(Array.from({ length: count }, (_, i) => `${prefix}.${i}`));
    for (const { name, weights } of layers)
      for (const { names, shape } of weights) {
        expect(names.every((one) => one.startsWith(`${name}.`))).toBe(true);
        expect(shape.length).toBeGreaterThan(1);
      }
    const own = layers.flatMap(({ weights }) => weights.map(({ key }) => key));
    expect(new Set(own).size).toBe(own.length);
  });

  it("takes what was foretold, at every limit, and keeps as many layers as that holds", async () => {
    const { caps } = await testGpu();
    const whole = compile(graph(), caps);
    const { total } = whole.bytes;
    const layers = layersOf(whole);
    const least = bytesWith(total, leastResidence(layers));
    const residents: number[] = [];
    for (let limit = total; limit >= least; limit -= 1009) {
      const found = residenceWithin(layers, (r) => bytesWith(total, r) <= limit)!;
      const foretold = bytesWith(total, found);
      expect(foretold).toBeLessThanOrEqual(limit);
      // With one layer more that stays it would be too much.
      if (found.resident < count && found.slots >= 1) expect(foretold + layers[0]!.bytes).toBeGreaterThan(limit);
      if (residents.at(-1) !== found.resident) {
        residents.push(found.resident);
        const { bytes } = compile(graph(), caps, found.options);
        expect(bytes.total).toBe(foretold);
        expect(bytes.streamed).toBe(found.streamedBytes);
        expect(bytes.slots).toBe(found.slotBytes);
      }
    }
    expect(residents).toEqual([...residents].sort((a, b) => b - a));
    expect(residents.length).toBeGreaterThan(count - 3);
    const { bytes } = compile(graph(), caps, residenceWithin(layers, (r) => bytesWith(total, r) <= least)!.options);
    expect(bytes.total).toBe(least);
    expect(residenceWithin(layers, (r) => bytesWith(total, r) < least)).toBeUndefined();
  });
});
