/** Which specialisations the engine chooses: the published models, planned at their published widths without a GPU. */
import type { Capabilities } from "../../gpu/capabilities.ts";
import { compile } from "../../plan/compile.ts";
import type { Graph } from "../../graph/graph.ts";
import { parseT5Config } from "../../models/t5/config.ts";
import { t5Graph } from "../../models/t5/model.ts";
import { parseTransformerConfig } from "../../models/cogvideox/config.ts";
import { parseVaeConfig } from "../../models/vae/config.ts";
import { vaeGraphs } from "../../models/vae/batches.ts";
import { denoiseGraph } from "../../models/cogvideox/model.ts";

type Precision = "f32" | "f16";

/** Matrices in the storage type, or, where they do not fit f16, in f32; vectors always f32. */
const provider = (matrices: Precision) => ({
  type: (name: string): Precision => (name.endsWith("weight") && !/norm\w*\.weight$|norm_[qk]|norm_final/.test(name) ? matrices : "f32"),
});
/** Adapters of rank 16 on every projection. */
const loras = { rank: () => 16 };

const FIVE = { num_attention_heads: 48, num_layers: 1, use_rotary_positional_embeddings: true };
const FIFTEEN = { ...FIVE, patch_size_t: 2, patch_bias: false, sample_height: 300, sample_width: 300, sample_frames: 81 };
// Few frames and rows: which kernel is taken follows from the widths, and from whether there is much work or little.
const transformers = [
  { config: { num_layers: 1 }, latents: { frames: 2, height: 16, width: 24 } },
  { config: FIVE, latents: { frames: 2, height: 16, width: 24 } },
  {
    config: { ...FIVE, in_channels: 32, use_learned_positional_embeddings: true, sample_height: 16, sample_width: 24, sample_frames: 5 },
    latents: { frames: 2, height: 16, width: 24 },
    conditionChannels: 16,
  },
  { config: FIFTEEN, latents: { frames: 2, height: 16, width: 24 } },
  { config: { ...FIFTEEN, in_channels: 32, ofs_embed_dim: 512 }, latents: { frames: 2, height: 16, width: 24 }, conditionChannels: 16 },
  // A picture of the smallest size, so that the tiles for little work are chosen too.
  { config: { num_layers: 1 }, latents: { frames: 1, height: 8, width: 8 } },
];
const XXL = { d_model: 4096, d_kv: 64, d_ff: 10240, num_layers: 1, num_heads: 64, vocab_size: 32128, feed_forward_proj: "gated-gelu" };

/** The graphs of every published model; with f16 also as they are where no matrix fits f16. */
function* graphs(dtype: Precision): Generator<Graph> {
  for (const matrices of dtype === "f16" ? (["f16", "f32"] as const) : (["f32"] as const)) {
    for (const { config, latents, conditionChannels } of transformers) {
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
        yield denoiseGraph(parseTransformerConfig(config), provider(matrices), shape, dtype, adapters ? loras : undefined);
      }
    }
    yield t5Graph(parseT5Config(XXL), provider(matrices), { batch: 2, length: 226, dtype });
    for (const [part, frames, height, width] of [
      ["decode", 5, 12, 18],
      ["decode", 2, 2, 2],
      ["encode", 17, 64, 96],
      ["encode", 1, 16, 16],
    ] as const) {
      for (const format of part === "decode" ? (["rgba", "frames", "sample"] as const) : (["sample"] as const)) {
        yield* vaeGraphs(parseVaeConfig({}), provider(matrices), { part, batch: 1, frames, height, width, format, dtype }).graphs;
      }
    }
  }
}

/** Labels of every specialised kernel that a published model takes on such an adapter, each with a node that takes it. */
export function publishedKernels(caps: Capabilities): Map<string, string> {
  const found = new Map<string, string>();
  for (const dtype of caps.f16 ? (["f32", "f16"] as const) : (["f32"] as const)) {
    for (const graph of graphs(dtype)) {
      for (const step of compile(graph, caps).steps) if (!found.has(step.label)) found.set(step.label, step.node.name);
    }
  }
  return found;
}
