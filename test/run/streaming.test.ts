/** Weights that are brought in every run: the same bytes as with weights that stay, however little memory they share. */
import { describe, expect, test } from "vitest";
import { createScheduler } from "../../src/diffusion/scheduler.ts";
import { elements } from "../../src/graph/dtype.ts";
import { parseTransformerConfig } from "../../src/models/cogvideox/config.ts";
import { Denoiser } from "../../src/models/cogvideox/model.ts";
import { transformerWeights } from "../../src/models/cogvideox/weights.ts";
import { parseT5Config } from "../../src/models/t5/config.ts";
import { T5Encoder } from "../../src/models/t5/model.ts";
import { expectedT5Weights } from "../../src/models/t5/weights.ts";
import { vaeWeights } from "../../src/models/vae/batches.ts";
import { parseVaeConfig } from "../../src/models/vae/config.ts";
import { CausalVae } from "../../src/models/vae/model.ts";
import type { CompileOptions } from "../../src/plan/compile.ts";
import type { WeightProvider } from "../../src/run/weight-provider.ts";
import { values } from "../support/compare.ts";
import { memoryWeights, testGpu } from "../support/gpu.ts";
import { TINY_CONFIGS } from "../support/tiny-checkpoint.ts";

const LAYERS = 5;

/** Drawn weights in memory, and how often each was read. */
function drawn(shapes: ReadonlyMap<string, readonly number[]>): WeightProvider & { reads: Map<string, number> } {
  let seed = 0;
  const all = Object.fromEntries(
    [...shapes].map(([name, shape]) => {
      const data = values(elements(shape), ++seed, shape.length > 1 ? 0.2 : 1);
      return [name, { shape, data: shape.length === 1 && name.endsWith("weight") ? data.map((v) => 1 + 0.2 * v) : data }];
    }),
  );
  const reads = new Map<string, number>();
  const { type, stored } = memoryWeights(all);
  return {
    type,
    reads,
    stored(name) {
      const weight = stored(name);
      return {
        ...weight,
        async read(start, into, signal) {
          if (start === 0) reads.set(name, (reads.get(name) ?? 0) + 1);
          // A file answers later.
          await new Promise((resolve) => setImmediate(resolve));
          await weight.read(start, into, signal);
        },
      };
    },
  };
}

const t5 = parseT5Config({ ...TINY_CONFIGS.text_encoder, d_model: 24, d_ff: 36, num_layers: LAYERS, num_heads: 3 });
const transformer = parseTransformerConfig({ ...TINY_CONFIGS.transformer, num_layers: LAYERS });
const vae = parseVaeConfig(TINY_CONFIGS.vae);

/** What each model computes, with these weights streamed. */
const models: Record<
  string,
  { weights: WeightProvider & { reads: Map<string, number> }; run(options: CompileOptions): Promise<Float32Array> }
> = {
  t5: {
    weights: drawn(expectedT5Weights(t5)),
    async run(options) {
      using encoder = await T5Encoder.create(await testGpu(), t5, this.weights, { batch: 2, length: 9, ...options });
      return await encoder.encode(Int32Array.from({ length: 18 }, (_, i) => (i * 37) % 256));
    },
  },
  transformer: {
    weights: drawn(transformerWeights(transformer)),
    async run(options) {
      const shape = { samples: 1, frames: 3, height: 4, width: 6, textLength: 12, guidance: true, stochastic: true };
      using denoiser = await Denoiser.create(await testGpu(), transformer, this.weights, shape, options);
      return await denoiser.run({
        start: values(3 * 4 * 4 * 6, 7),
        text: values(2 * 12 * 16, 8),
        steps: createScheduler(TINY_CONFIGS.scheduler, "CogVideoXDPMScheduler").steps(3),
        guidanceScale: 6,
        noise: (step) => values(3 * 4 * 4 * 6, 9 + step),
      });
    },
  },
  vae: {
    weights: drawn(vaeWeights(vae)),
    async run(options) {
      using model = CausalVae.create(await testGpu(), vae, this.weights, options);
      // Three batches: the first by a program of its own.
      return (await model.decode(values(4 * 7 * 2 * 4, 7), { batch: 1, frames: 7, height: 2, width: 4 })).data;
    },
  },
};

const same = (got: Float32Array, want: Float32Array): boolean => Buffer.from(got.buffer).equals(Buffer.from(want.buffer));

describe.each(Object.keys(models))("%s", (name) => {
  const model = models[name]!;
  const resident = model.run({});

  // From the least that one step can do with, to more than there is.
  test.each([0.01, 1, 1.5, 2, 3, LAYERS, LAYERS + 3])("streamed through %s slots gives the bytes of resident weights", async (slots) => {
    const want = await resident;
    model.weights.reads.clear();
    expect(same(await model.run({ stream: () => true, slots }), want)).toBe(true);
    const most = Math.max(...model.weights.reads.values());
    if (name === "transformer" || name === "vae") expect(most > 1).toBe(slots <= LAYERS);
  });

  test("streamed in part gives the bytes of resident weights", async () => {
    const want = await resident;
    for (const part of [/\.[13]\./, /bias$/]) {
      const stream = ({ names }: { names: readonly string[] }) => part.test(names[0]!);
      expect(same(await model.run({ stream }), want)).toBe(true);
    }
  });
});
