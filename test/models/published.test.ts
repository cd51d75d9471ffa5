/** The published configurations, planned without a GPU: every dispatch must fit the limits that WebGPU promises. */
import { expect, test } from "vitest";
import type { Capabilities } from "../../src/gpu/capabilities.ts";
import { compile } from "../../src/plan/compile.ts";
import { MAX_DISPATCH_FLOPS } from "../../src/plan/dispatch.ts";
import { parseT5Config } from "../../src/models/t5/config.ts";
import { t5Graph } from "../../src/models/t5/model.ts";
import { parseVaeConfig } from "../../src/models/vae/config.ts";
import { planVae } from "../../src/models/vae/batches.ts";
import { parseTransformerConfig } from "../../src/models/cogvideox/config.ts";
import { transformerWeights } from "../../src/models/cogvideox/weights.ts";
import { denoiseGraph } from "../../src/models/cogvideox/model.ts";
import { publishedModels } from "../../src/pipelines/cogvideox/published-models.ts";

/** WebGPU's default limits, but for buffers: an activation of these models is over 256 MiB, and adapters have more. */
const caps: Capabilities = {
  kind: "hardware",
  vendor: "",
  architecture: "",
  description: "default limits",
  f16: true,
  subgroups: null,
  subgroupMatrices: [],
  timestamps: false,
  dotI8: true,
  immediates: false,
  maxBindingBytes: 128 << 20,
  maxBufferBytes: 2 ** 32,
  maxWorkgroupInvocations: 256,
  maxWorkgroupBytes: 16384,
  maxStorageBuffers: 8,
  maxGrid: 65535,
  offsetAlignment: 256,
};
const provider = (dtype: "f32" | "f16") => ({
  type: (name: string) =>
    dtype === "f16" && name.endsWith("weight") && !name.includes("norm.weight") && !/norm_[qk]|norm_final/.test(name)
      ? ("f16" as const)
      : ("f32" as const),
});

const models = {
  "cogvideox-2b": { latents: { frames: 13, height: 60, width: 90 }, parameters: 1_693_783_872 },
  "cogvideox-5b": { latents: { frames: 13, height: 60, width: 90 }, parameters: 5_570_283_072 },
  "cogvideox-1.5-5b": { latents: { frames: 22, height: 96, width: 170 }, parameters: 5_570_676_352 },
};

test.each(Object.entries(models))(
  "%s plans under default binding limits, and has the published number of parameters",
  (name, { latents, parameters }) => {
    const c = parseTransformerConfig(publishedModels[name as keyof typeof models].configs.transformer);
    expect([...transformerWeights(c).values()].reduce((n, shape) => n + shape.reduce((a, b) => a * b), 0)).toBe(parameters);
    for (const dtype of ["f16", "f32"] as const) {
      const plan = compile(
        denoiseGraph(
          { ...c, num_layers: 2 },
          provider(dtype),
          { samples: 1, ...latents, textLength: 226, guidance: false, stochastic: true },
          dtype,
        ),
        caps,
      );
      expect(plan.steps.length).toBeGreaterThan(20);
      // A dispatch cannot be interrupted, and a browser resets a device that one keeps busy for seconds.
      expect(Math.max(...plan.steps.map((s) => s.cost.flops))).toBeLessThan(1.1 * MAX_DISPATCH_FLOPS.hardware);
      expect(plan.memory.arenas.reduce((a, b) => a + b, 0) / plan.memory.lowerBound).toBeLessThan(1.35);
    }
  },
);

test.each(["f16", "f32"] as const)("the published decoder plans for 49 frames of 480 × 720, %s", (dtype) => {
  for (const plan of planVae(parseVaeConfig(publishedModels["cogvideox-2b"].configs.vae), caps, {
    part: "decode",
    batch: 1,
    frames: 13,
    height: 60,
    width: 90,
    format: "rgba",
    dtype,
  })) {
    expect(Math.max(...plan.steps.map((s) => s.cost.flops))).toBeLessThan(1.1 * MAX_DISPATCH_FLOPS.hardware);
  }
});

test("T5-XXL plans under default binding limits", () => {
  const config = parseT5Config(publishedModels["cogvideox-2b"].configs.text_encoder);
  const plan = compile(t5Graph(config, provider("f16"), { batch: 2, length: 226, dtype: "f16" }), caps);
  expect(plan.bytes.weights).toBeGreaterThan(9.2e9);
});
