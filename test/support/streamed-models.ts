/** Small models of several layers with drawn weights, to be run with some of them streamed. */
import { createScheduler } from "../../src/diffusion/scheduler.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { elements } from "../../src/graph/dtype.ts";
import { parseTransformerConfig } from "../../src/models/cogvideox/config.ts";
import { Denoiser, type DenoiseOptions, type DenoiserOptions } from "../../src/models/cogvideox/model.ts";
import { transformerWeights } from "../../src/models/cogvideox/weights.ts";
import { LoraWeights, withLoras, type LoraChange } from "../../src/models/lora/merge.ts";
import { parseT5Config } from "../../src/models/t5/config.ts";
import { T5Encoder } from "../../src/models/t5/model.ts";
import { expectedT5Weights } from "../../src/models/t5/weights.ts";
import { vaeWeights } from "../../src/models/vae/batches.ts";
import { parseVaeConfig } from "../../src/models/vae/config.ts";
import { CausalVae } from "../../src/models/vae/model.ts";
import type { CompileOptions } from "../../src/plan/compile.ts";
import type { WeightProvider } from "../../src/run/weight-provider.ts";
import { values } from "./compare.ts";
import { memoryWeights, testGpu } from "./gpu.ts";
import { TINY_CONFIGS } from "./tiny-configs.ts";

export const LAYERS = 5;

/** Weights in memory that can be watched, and kept from coming. */
export interface DrawnWeights extends WeightProvider {
  /** How often each was read. */
  readonly reads: Map<string, number>;
  /** Called before every read; what it throws is thrown. */
  onRead?: ((name: string, signal?: AbortSignal) => void | Promise<void>) | undefined;
}

export function drawn(shapes: ReadonlyMap<string, readonly number[]>): DrawnWeights {
  let seed = 0;
  const all = Object.fromEntries(
    [...shapes].map(([name, shape]) => {
      const data = values(elements(shape), ++seed, shape.length > 1 ? 0.2 : 1);
      return [name, { shape, data: shape.length === 1 && name.endsWith("weight") ? data.map((v) => 1 + 0.2 * v) : data }];
    }),
  );
  const { type, stored } = memoryWeights(all);
  const weights: DrawnWeights = {
    type,
    reads: new Map(),
    stored(name) {
      const weight = stored(name);
      return {
        ...weight,
        label: `${name} in memory`,
        async read(start, into, signal) {
          if (start === 0) weights.reads.set(name, (weights.reads.get(name) ?? 0) + 1);
          // A file answers later.
          await new Promise<void>((resolve) => (globalThis.setImmediate ?? setTimeout)(resolve));
          await weights.onRead?.(name, signal);
          await weight.read(start, into, signal);
        },
      };
    },
  };
  return weights;
}

const t5 = parseT5Config({ ...TINY_CONFIGS.text_encoder, d_model: 24, d_ff: 36, num_layers: LAYERS, num_heads: 3 });
export const transformer = parseTransformerConfig({ ...TINY_CONFIGS.transformer, num_layers: LAYERS });
const vae = parseVaeConfig(TINY_CONFIGS.vae);

export const SHAPE = { samples: 1, frames: 3, height: 4, width: 6, textLength: 12, guidance: true, stochastic: true } as const;

/** Three DPM steps with guidance. */
export const steps: DenoiseOptions = {
  start: values(3 * 4 * 4 * 6, 7),
  text: values(2 * 12 * 16, 8),
  steps: createScheduler(TINY_CONFIGS.scheduler, "CogVideoXDPMScheduler").steps(3),
  guidanceScale: 6,
  noise: (step) => values(3 * 4 * 4 * 6, 9 + step),
};

export const denoiser = (
  gpu: Gpu,
  weights: WeightProvider,
  options: DenoiserOptions,
  shape: Partial<typeof SHAPE> & { apart?: boolean } = {},
) => Denoiser.create(gpu, transformer, weights, { ...SHAPE, ...shape }, options);

export interface StreamedModel {
  readonly weights: DrawnWeights;
  /** All that it computes. @param gpu default: the tests' own */
  run(options: CompileOptions, gpu?: Gpu): Promise<Float32Array>;
}

/** Adapters of two ranks on some matrices of each layer. */
const changes = new Map<string, LoraChange[]>(
  [...transformerWeights(transformer)]
    .filter(([name]) => /attn1\.to_[qv]\.weight|ff\.net\.2\.weight/.test(name))
    .map(([name, [out, inner]], i) => [
      name,
      [2, 3].map((rank) => ({ up: values(out! * rank, 500 + i, 0.2), down: values(rank * inner!, 600 + i, 0.2), rank, factor: 0.7 })),
    ]),
);

const denoising = (how: { apart?: boolean; loras?: "merged" | "live" }): StreamedModel => ({
  weights: drawn(transformerWeights(transformer)),
  async run(options, gpu) {
    const provider = how.loras === "merged" ? withLoras(this.weights, changes) : this.weights;
    const live = how.loras === "live" ? { loras: new LoraWeights(changes, (name) => transformerWeights(transformer).get(name)) } : {};
    using model = await denoiser(gpu ?? (await testGpu()), provider, { ...options, ...live }, { apart: how.apart ?? false });
    return await model.run(steps);
  },
});

export const MODELS: Readonly<Record<string, StreamedModel>> = {
  t5: {
    weights: drawn(expectedT5Weights(t5)),
    async run(options, gpu) {
      using encoder = await T5Encoder.create(gpu ?? (await testGpu()), t5, this.weights, { batch: 2, length: 9, ...options });
      return await encoder.encode(Int32Array.from({ length: 18 }, (_, i) => (i * 37) % 256));
    },
  },
  transformer: denoising({}),
  "transformer, branches apart": denoising({ apart: true }),
  "transformer, adapters merged": denoising({ loras: "merged" }),
  "transformer, adapters beside it": denoising({ loras: "live" }),
  vae: {
    weights: drawn(vaeWeights(vae)),
    async run(options, gpu) {
      using model = CausalVae.create(gpu ?? (await testGpu()), vae, this.weights, options);
      // Three batches: the first by a program of its own.
      return (await model.decode(values(4 * 7 * 2 * 4, 7), { batch: 1, frames: 7, height: 2, width: 4 })).data;
    },
  },
};

export const same = (got: Float32Array, want: Float32Array): boolean => Buffer.from(got.buffer).equals(Buffer.from(want.buffer));
