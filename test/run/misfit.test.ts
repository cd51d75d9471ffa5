/** Weights that f16 does not hold, found while they come: what is computed is what f32 storage of them gives, and they alone come again. */
import { describe, expect, test } from "vitest";
import { fitsF16 } from "../../src/files/float16-loss.ts";
import { elements } from "../../src/graph/dtype.ts";
import { parseT5Config } from "../../src/models/t5/config.ts";
import { T5Encoder } from "../../src/models/t5/model.ts";
import { expectedT5Weights } from "../../src/models/t5/weights.ts";
import { transformerWeights } from "../../src/models/cogvideox/weights.ts";
import { vaeWeights } from "../../src/models/vae/batches.ts";
import { parseVaeConfig } from "../../src/models/vae/config.ts";
import { CausalVae } from "../../src/models/vae/model.ts";
import type { CompileOptions } from "../../src/plan/compile.ts";
import type { WeightProvider } from "../../src/run/weight-provider.ts";
import { values } from "../support/compare.ts";
import { memoryWeights, testGpu } from "../support/gpu.ts";
import { denoiser, same, steps, transformer } from "../support/streamed-models.ts";
import { TINY_CONFIGS } from "../support/tiny-checkpoint.ts";

const t5 = parseT5Config({ ...TINY_CONFIGS.text_encoder, num_layers: 3 });
const vae = parseVaeConfig(TINY_CONFIGS.vae);

interface Watched extends WeightProvider {
  readonly told: string[];
  readonly reads: string[];
}

/** Drawn matrices that are to be f16, of which some do not fit; vectors are f32. @param known they are called f32 from the start */
function provider(shapes: ReadonlyMap<string, readonly number[]>, misfits: readonly string[], known: boolean): Watched {
  const all = Object.fromEntries(
    [...shapes].map(([name, shape], i) => {
      const data = values(elements(shape), i + 1, 0.2);
      if (name === misfits[0]) data[3] = 2 ** 17;
      else if (misfits.includes(name)) for (let k = 0; k < data.length; k++) data[k]! *= 2 ** -24;
      return [name, { shape, data }];
    }),
  );
  const kept = new Set(known ? misfits : []);
  const { stored } = memoryWeights(all);
  const watched: Watched = {
    told: [],
    reads: [],
    type: (name) => (shapes.get(name)!.length > 1 && !kept.has(name) ? "f16" : "f32"),
    stored: (name) => {
      const weight = stored(name);
      return { ...weight, read: (start, into, signal) => (watched.reads.push(name), weight.read(start, into, signal)) };
    },
    judge(losses) {
      const found = [...losses].filter(([, loss]) => !fitsF16(loss)).map(([name]) => name);
      for (const name of found) kept.add(name);
      watched.told.push(...found);
      return found;
    },
  };
  return watched;
}

const MODELS = {
  t5: {
    shapes: expectedT5Weights(t5),
    misfits: ["encoder.block.1.layer.0.SelfAttention.q.weight", "encoder.block.2.layer.1.DenseReluDense.wi_1.weight"],
    async run(weights: WeightProvider, options: CompileOptions) {
      using encoder = await T5Encoder.create(await testGpu(), t5, weights, { batch: 1, length: 9, ...options });
      return await encoder.encode(Int32Array.from({ length: 9 }, (_, i) => (i * 37) % 256));
    },
  },
  transformer: {
    shapes: transformerWeights(transformer),
    misfits: ["transformer_blocks.1.attn1.to_k.weight", "transformer_blocks.3.ff.net.2.weight"],
    async run(weights: WeightProvider, options: CompileOptions) {
      using model = await denoiser(await testGpu(), weights, options);
      return await model.run(steps);
    },
  },
  vae: {
    shapes: vaeWeights(vae),
    misfits: ["decoder.mid_block.resnets.0.conv1.conv.weight", "decoder.conv_out.conv.weight"],
    async run(weights: WeightProvider, options: CompileOptions & { exact?: boolean }) {
      const { exact, ...how } = options;
      using model = CausalVae.create(await testGpu(), vae, weights, how);
      const shape = { batch: 1, frames: 5, height: 2, width: 4 };
      return (await model.decode(values(4 * 5 * 2 * 4, 7), shape, exact ? { tiling: "exact" } : {})).data;
    },
  },
};

describe.each(Object.entries(MODELS))("%s", (name, { shapes, misfits, run }) => {
  const ways: [string, CompileOptions & { exact?: boolean }][] = [
    ["resident", {}],
    ["streamed", { stream: () => true, slots: 2 }],
    ["in part", { stream: ({ names }) => names[0]!.includes("1") }],
    ...(name === "vae" ? [["in exact tiles", { exact: true }] as [string, { exact: boolean }]] : []),
  ];
  for (const [way, options] of ways)
    test(way, async ({ skip }) => {
      const { caps } = await testGpu();
      skip(!caps.f16, "needs an adapter with shader-f16");
      const want = await run(provider(shapes, misfits, true), options);
      expect(want.every(Number.isFinite)).toBe(true);
      const weights = provider(shapes, misfits, false);
      const got = await run(weights, options);
      expect(same(got, want)).toBe(true);
      expect(weights.told.sort()).toEqual([...misfits].sort());
      if (!options.stream) {
        const again = [...shapes.keys()].filter((weight) => weights.reads.filter((read) => read === weight).length > 1);
        // What is joined to such a weight comes with it; of the table of words each row is a read.
        expect(again.filter((weight) => !/wi_0|^shared/.test(weight)).sort()).toEqual([...misfits].sort());
      }
    });
});
