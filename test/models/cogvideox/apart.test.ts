/** The two branches of guidance one after the other: the same prediction, of fewer activations at once. */
import { expect, test } from "vitest";
import { parseTransformerConfig } from "../../../src/models/cogvideox/config.ts";
import { denoiseGraph, type DenoiseShape } from "../../../src/models/cogvideox/model.ts";
import { compile } from "../../../src/plan/compile.ts";
import { Program } from "../../../src/run/program.ts";
import { WeightStore } from "../../../src/run/weight-store.ts";
import { expectClose, values } from "../../support/compare.ts";
import { drawnWeights } from "../../support/drawn-weights.ts";
import { memoryWeights, testGpu } from "../../support/gpu.ts";

const config = parseTransformerConfig({
  num_attention_heads: 4,
  attention_head_dim: 16,
  in_channels: 8,
  out_channels: 4,
  time_embed_dim: 32,
  text_embed_dim: 24,
  num_layers: 2,
  use_rotary_positional_embeddings: true,
  max_text_seq_length: 10,
});
const weights = drawnWeights(config);
const shape: DenoiseShape = {
  samples: 2,
  frames: 3,
  height: 16,
  width: 20,
  textLength: 10,
  guidance: true,
  stochastic: false,
  conditionChannels: 4,
};
const size = shape.samples * shape.frames * 4 * shape.height * shape.width;
const text = values(4 * 10 * 24, 902);

async function step(apart: boolean): Promise<{ latents: Float32Array; activations: number }> {
  const gpu = await testGpu();
  const provider = memoryWeights(weights);
  const plan = compile(denoiseGraph(config, provider, { ...shape, apart }, "f32"), gpu.caps);
  using store = new WeightStore(gpu, provider);
  using program = await Program.create(gpu, plan, store);
  program.write("latents", values(size, 901));
  program.write("condition", values(size, 903));
  if (apart) {
    program.write("text.negative", text.subarray(0, text.length / 2));
    program.write("text.positive", text.subarray(text.length / 2));
  } else program.write("text", text);
  program.write("timestep", new Float32Array(apart ? 2 : 4).fill(500));
  program.write("coefficients", Float32Array.of(6, 0.9, 0.3, 0.8, -0.2, 0, 0, 0));
  await gpu.scoped("a step", () => program.run());
  return { latents: await program.read("latents"), activations: plan.bytes.activations };
}

test("branches apart give the same step", async () => {
  const [together, apart] = [await step(false), await step(true)];
  expectClose(apart.latents, together.latents, 1e-6, [2, 3, 4, 16, 20]);
  // Of the residual streams both are there, of what a layer makes one branch's.
  expect(apart.activations).toBeLessThan(0.72 * together.activations);
});
