/** The published models as graphs, at their published widths: which kernels are chosen follows from them, and no weight is needed. */
import { parseTransformerConfig } from "../../models/cogvideox/config.ts";
import { denoiseGraph } from "../../models/cogvideox/model.ts";
import { parseT5Config } from "../../models/t5/config.ts";
import { t5Graph } from "../../models/t5/model.ts";
import { vaeGraphs } from "../../models/vae/batches.ts";
import { parseVaeConfig } from "../../models/vae/config.ts";
import type { WeightProvider } from "../../run/weight-provider.ts";
import type { PublishedGraph } from "../family.ts";

/** Adapters of rank 16 on every projection. */
const loras = { rank: () => 16 };

const FIVE = { num_attention_heads: 48, num_layers: 1, use_rotary_positional_embeddings: true };
const FIFTEEN = { ...FIVE, patch_size_t: 2, patch_bias: false, sample_height: 300, sample_width: 300, sample_frames: 81 };
// Few frames and rows: which kernel is taken follows from the widths, and from whether there is much work or little.
const latents = { frames: 2, height: 16, width: 24 };
const transformers = [
  { model: "CogVideoX-2b", config: { num_layers: 1 }, latents },
  { model: "CogVideoX-5b", config: FIVE, latents },
  {
    model: "CogVideoX-5b-I2V",
    config: { ...FIVE, in_channels: 32, use_learned_positional_embeddings: true, sample_height: 16, sample_width: 24, sample_frames: 5 },
    latents,
    conditionChannels: 16,
  },
  { model: "CogVideoX1.5-5B", config: FIFTEEN, latents },
  { model: "CogVideoX1.5-5B-I2V", config: { ...FIFTEEN, in_channels: 32, ofs_embed_dim: 512 }, latents, conditionChannels: 16 },
  // A picture of the smallest size, so that the tiles for little work are chosen too.
  { model: "CogVideoX-2b", config: { num_layers: 1 }, latents: { frames: 1, height: 8, width: 8 } },
];
/** All have the text encoder and the VAE of the first. */
const models = [...new Set(transformers.map(({ model }) => model))];
const XXL = { d_model: 4096, d_kv: 64, d_ff: 10240, num_layers: 1, num_heads: 64, vocab_size: 32128, feed_forward_proj: "gated-gelu" };

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
      const graph = denoiseGraph(parseTransformerConfig(config), weights, shape, dtype, adapters ? loras : undefined);
      yield { component: "transformer", models: [model], graph };
    }
  }
  yield { component: "text_encoder", models, graph: t5Graph(parseT5Config(XXL), weights, { batch: 2, length: 226, dtype }) };
  for (const [part, frames, height, width] of [
    ["decode", 5, 12, 18],
    ["decode", 2, 2, 2],
    ["encode", 17, 64, 96],
    ["encode", 1, 16, 16],
  ] as const) {
    for (const format of part === "decode" ? (["rgba", "frames", "sample"] as const) : (["sample"] as const))
      for (const graph of vaeGraphs(parseVaeConfig({}), weights, { part, batch: 1, frames, height, width, format, dtype }).graphs)
        yield { component: "vae", models, graph };
  }
}
