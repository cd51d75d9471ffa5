/** Weights that are quantized while they are loaded, and stay on the device so. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isQuantizable, quantizedWeights } from "../../src/checkpoint/quantized-weights.ts";
import { dequantize, quantize } from "../../src/files/quantize.ts";
import { stays } from "../../src/pipelines/cogvideox/model.ts";
import { transformerWeights } from "../../src/models/cogvideox/weights.ts";
import { parseTransformerConfig } from "../../src/models/cogvideox/config.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { Profile } from "../../src/gpu/profile.ts";
import { storedBytes } from "../../src/graph/stored.ts";
import { values } from "../support/compare.ts";
import { limitedGpu, memoryWeights } from "../support/gpu.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";

const configs = {
  text_encoder: { d_model: 128, d_ff: 512, num_layers: 4, num_heads: 16 },
  transformer: { num_attention_heads: 4, num_layers: 4, text_embed_dim: 128 },
};
const options = { prompt: "a red circle", seed: 5, steps: 2, cache: false } as const;
let folder: string;
beforeAll(async () => {
  folder = await tinyCheckpoint({ shaped: true, configs });
});
afterAll(removeTinyCheckpoints);

/** A generation on a device of its own, and the most that was allocated on it. */
async function made(dtype: "f32" | "q8" | "q4", memoryBytes?: number) {
  await using gpu = await limitedGpu({ kind: "software" });
  await using model = await CogVideoX.open(folder, { gpu, dtype, ...(memoryBytes === undefined ? {} : { memoryBytes }) });
  const request = await model.prepare(options);
  const video = await model.generate(request);
  return { requirements: request.requirements, latents: video.state.latents, peak: gpu.memory.peak };
}

const away = (got: Float32Array, want: Float32Array): number =>
  Math.sqrt(got.reduce((n, v, i) => n + (v - want[i]!) ** 2, 0) / want.reduce((n, v) => n + v * v, 0));

describe("dtype q8 and q4", () => {
  it("take less of the adapter's memory, keep within what is foretold, and are as far away as their bits", async () => {
    const plain = await made("f32");
    const layers = plain.requirements.find(({ stage }) => stage === "transformer")!;
    let further = 0;
    for (const [dtype, bits, most] of [
      ["q8", 8.5, 0.02],
      ["q4", 4.5, 0.3],
    ] as const) {
      const { requirements, latents, peak } = await made(dtype);
      expect(peak).toBeLessThanOrEqual(Math.max(...requirements.map((stage) => stage.peak)));
      const transformer = requirements.find(({ stage }) => stage === "transformer")!;
      // The linear layers of the blocks are most of it.
      expect(transformer.weights / layers.weights).toBeLessThan(bits / 32 + 0.35);
      expect(transformer.slots).toBeGreaterThan(0);
      const distance = away(latents, plain.latents);
      expect(distance, dtype).toBeGreaterThan(further);
      expect(distance, dtype).toBeLessThan(most);
      further = distance;
      // Some layers of them come and go, and are quantized as they come.
      const limit = Math.floor(0.8 * Math.max(...requirements.map((stage) => stage.peak)));
      const limited = await made(dtype, limit);
      expect(limited.requirements.some(({ streamed }) => streamed > 0)).toBe(true);
      expect(limited.peak).toBeLessThanOrEqual(limit);
      expect(limited.latents).toEqual(latents);
    }
  });

  it("q8 multiplies integers where a table says so, whatever comes and goes", async () => {
    const [plain, tuning] = await (async () => {
      await using gpu = await limitedGpu({ kind: "software" });
      await using model = await CogVideoX.open(folder, { gpu, dtype: "q8" });
      const plans = model.plans().flatMap((stage) => stage.plans);
      const tiles = plans.flatMap(({ choices }) =>
        choices.map(({ key, candidates }) => [key, candidates.find((label) => label.startsWith("dot_i8 bm=32"))] as const),
      );
      return [
        (await model.generate(await model.prepare(options))).state.latents,
        tiles.filter(([, label]) => label !== undefined),
      ] as const;
    })();
    // T5's and the transformer's.
    expect(new Set(tuning.map(([key]) => key)).size).toBeGreaterThan(4);
    const integers = async (memoryBytes?: number) => {
      await using gpu = await limitedGpu({ kind: "software", tuning: Object.fromEntries(tuning) as Record<string, string> });
      await using model = await CogVideoX.open(folder, { gpu, dtype: "q8", ...(memoryBytes === undefined ? {} : { memoryBytes }) });
      const request = await model.prepare(options);
      using gpuProfile = new Profile(gpu);
      const { latents } = (await model.generate(await model.prepare({ ...options, gpuProfile }))).state;
      expect(gpuProfile.dispatches.some(({ label }) => label.startsWith("matmul_dot_i8"))).toBe(true);
      expect(gpu.memory.peak).toBeLessThanOrEqual(Math.max(...request.requirements.map((stage) => stage.peak)));
      return { requirements: request.requirements, latents };
    };
    const { requirements, latents } = await integers();
    expect(away(latents, plain)).toBeGreaterThan(1e-4);
    expect(away(latents, plain)).toBeLessThan(0.02);
    const limited = await integers(Math.floor(0.8 * Math.max(...requirements.map((stage) => stage.peak))));
    expect(limited.requirements.some(({ streamed }) => streamed > 0)).toBe(true);
    expect(limited.latents).toEqual(latents);
  });

  it("is refused by another name", async () => {
    await expect(CogVideoX.open(folder, { dtype: "q5" as never })).rejects.toThrow(
      '[generate] dtype must be f32, f16, q8 or q4, got "q5"; leave it out',
    );
  });
});

describe("weights that are quantized as they are read", () => {
  const data = values(6 * 96, 3);
  const weights = quantizedWeights(
    memoryWeights({ "b.0.w": { data, shape: [6, 96] }, "b.0.norm1.linear.weight": { data, shape: [6, 96] } }),
    "q8_0",
    stays("transformer"),
  );

  it("give the bytes of the quantizer, from any byte to any other", async () => {
    const weight = weights.stored("b.0.w");
    expect(weight.format).toBe("q8_0");
    const whole = quantize(data, "q8_0");
    expect(storedBytes(weight)).toBe(whole.length);
    for (const [from, to] of [
      [0, whole.length],
      [34, 68],
      [1, 35],
      [33, 34],
      [100, 611],
    ] as const) {
      const into = new Uint8Array(to - from);
      await weight.read(from, into);
      expect([...into]).toEqual([...whole.subarray(from, to)]);
    }
    expect(away(dequantize(whole, "q8_0"), data)).toBeLessThan(0.01);
    expect(weights.stored("b.0.norm1.linear.weight").format).toBe("f32");
  });

  it("are the linear layers within blocks", () => {
    const shapes = transformerWeights(
      parseTransformerConfig({ ofs_embed_dim: 512, patch_size_t: 2, use_rotary_positional_embeddings: true }),
    );
    const kinds = new Set(
      [...shapes]
        .filter(([name, shape]) => !stays("transformer")(name) && isQuantizable(shape))
        .map(([name]) => name.replace(/\.\d+\./, ".i.")),
    );
    expect([...kinds].sort()).toEqual(
      ["attn1.to_k", "attn1.to_out.0", "attn1.to_q", "attn1.to_v", "ff.net.0.proj", "ff.net.2"].map(
        (name) => `transformer_blocks.i.${name}.weight`,
      ),
    );
    expect(isQuantizable([64, 48])).toBe(false); // no whole blocks
    expect(isQuantizable([64, 64], "q4_k")).toBe(false); // is already
    expect(["encoder.block.0.layer.0.SelfAttention.q.weight", "shared.weight"].map(stays("text_encoder"))).toEqual([false, true]);
  });
});
