/** The published models as graphs, at their published widths: which kernels are chosen follows from them, and no weight is needed. */
import { parseTransformerConfig } from "../../models/cogvideox/config.ts";
import { denoiseGraph } from "../../models/cogvideox/model.ts";
import { parseT5Config } from "../../models/t5/config.ts";
import { t5Graph } from "../../models/t5/model.ts";
import { vaeGraphs } from "../../models/vae/batches.ts";
import { parseVaeConfig } from "../../models/vae/config.ts";
import type { WeightProvider } from "../../run/weight-provider.ts";
import type { PublishedGraph } from "../family.ts";
import { publishedModels, type PublishedModel } from "./published-models.ts";

/** Adapters of rank 16 on every projection. */
const loras = { rank: () => 16 };

// Few frames and rows: which kernel is taken follows from the widths, and from whether there is much work or little.
const latents = { frames: 2, height: 16, width: 24 };
/** Where positions are learned, for one size alone, that size. */
const learned = { sample_height: 16, sample_width: 24, sample_frames: 5 };
const published = Object.values<PublishedModel>(publishedModels);
const transformers = [
  ...published.map((model) => ({ model, latents })),
  // A picture of the smallest size, so that the tiles for little work are chosen too.
  { model: published[0]!, latents: { frames: 1, height: 8, width: 8 } },
].map(({ model: { title, configs }, latents }) => {
  const { transformer } = configs;
  const config = parseTransformerConfig({
    ...transformer,
    num_layers: 1,
    ...(transformer["use_learned_positional_embeddings"] ? learned : {}),
  });
  return { model: title, config, latents, conditionChannels: config.in_channels - config.out_channels };
});
/** All have the text encoder and the VAE of the first. */
const models = published.map(({ title }) => title);
const { text_encoder, vae } = published[0]!.configs;

/** @param dtype of activations @param weights how they are stored */
export function* publishedGraphs(dtype: "f32" | "f16", weights: Pick<WeightProvider, "type">): Generator<PublishedGraph> {
  for (const { model, config, latents, conditionChannels } of transformers) {
    for (const [guidance, stochastic, adapters] of [
      [true, true, false],
      [false, false, false],
      [true, false, true],
    ] as const) {
      const shape = {
        samples: 1,
        ...latents,
        textLength: 226,
        guidance,
        stochastic,
        ...(conditionChannels ? { conditionChannels } : {}),
      };
      const graph = denoiseGraph(config, weights, shape, dtype, adapters ? loras : undefined);
      yield { component: "transformer", models: [model], graph };
    }
  }
  yield {
    component: "text_encoder",
    models,
    graph: t5Graph(parseT5Config({ ...text_encoder, num_layers: 1 }), weights, { batch: 2, length: 226, dtype }),
  };
  for (const [part, frames, height, width] of [
    ["decode", 5, 12, 18],
    ["decode", 2, 2, 2],
    ["encode", 17, 64, 96],
    ["encode", 1, 16, 16],
  ] as const) {
    for (const format of part === "decode" ? (["rgba", "frames", "sample"] as const) : (["sample"] as const))
      for (const graph of vaeGraphs(parseVaeConfig(vae), weights, { part, batch: 1, frames, height, width, format, dtype }).graphs)
        yield { component: "vae", models, graph };
  }
}
