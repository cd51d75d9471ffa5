/** What training takes, told from configs alone, against what it then allocates. */
import { expect, it } from "vitest";
import { parseTransformerConfig } from "../../src/models/cogvideox/config.ts";
import { trainingNeeds } from "../../src/training/needs.ts";
import { testGpu } from "../support/gpu.ts";

const config = parseTransformerConfig({
  num_attention_heads: 30,
  num_layers: 30,
  max_text_seq_length: 226,
  use_rotary_positional_embeddings: false,
});
const shape = { clips: 1, frames: 1, height: 8, width: 8, textLength: 226 };
const weights = { type: () => "f32" as const };

it("parameters, means and averages are as many as the adapter has values; frozen weights come and go within a limit", async () => {
  const { caps } = await testGpu();
  const model = { config, weights, dtype: "f32", caps } as const;
  const whole = trainingNeeds(model, { steps: 1, lora: { rank: 64 } }, shape);
  const width = 30 * 64;
  expect(whole.parameters).toBe(4 * 30 * 4 * 2 * 64 * width);
  expect(whole.states).toBe(2 * whole.parameters);
  expect(trainingNeeds(model, { steps: 1, lora: { rank: 64 }, ema: { decay: 0.99 } }, shape).states).toBe(3 * whole.parameters);
  expect(trainingNeeds(model, { steps: 1, lora: { rank: 64 }, accumulation: 2 }, shape).states).toBe(3 * whole.parameters);
  const limit = whole.peak / 4;
  const within = trainingNeeds(model, { steps: 1, lora: { rank: 64 } }, shape, limit);
  expect(within.peak).toBeLessThanOrEqual(limit);
  expect(within.streamed).toBeGreaterThan(whole.frozen / 2);
  expect(() => trainingNeeds(model, { steps: 1, lora: { rank: 64 } }, shape, 1e6)).toThrow(
    /must fit the memory that is given, got 1000000 bytes where it takes at least \d+; give more, .* or checkpointing pairs/,
  );
}, 60_000);

it.each([
  ["2B", { num_attention_heads: 30, num_layers: 30, use_rotary_positional_embeddings: false }, 6e9],
  ["5B", { num_attention_heads: 48, num_layers: 42, use_rotary_positional_embeddings: true }, 10e9],
])(
  "an adapter of rank 64 for the published %s, 49 frames of 480 × 720 in f16, with a GPU's kernels",
  async (_, sizes, limit) => {
    const caps = { ...(await testGpu()).caps, kind: "hardware" as const };
    const published = parseTransformerConfig({
      ...{ ...sizes, max_text_seq_length: 226, sample_frames: 49, sample_width: 90, sample_height: 60 },
    });
    const stored = { type: (name: string) => (/norm|bias$/.test(name) ? ("f32" as const) : ("f16" as const)) };
    const clip = { clips: 1, frames: 13, height: 60, width: 90, textLength: 226 };
    const options = { steps: 1, lora: { rank: 64 }, checkpointing: "pairs" } as const;
    const needs = trainingNeeds({ config: published, weights: stored, dtype: "f16", caps }, options, clip, limit);
    expect(needs.peak).toBeLessThanOrEqual(limit);
    expect(needs.streamed).toBeGreaterThan(0);
  },
  120_000,
);
