/**
 * A layer of each of a model's networks on few tokens and pixels: what a probe runs to learn how fast an adapter is. They have the
 * widths of the model, up to a limit, so that the kernels that run are those of the model.
 */
import type { Graph } from "../../graph/graph.ts";
import { denoiseGraph } from "../../models/cogvideox/model.ts";
import { t5Graph } from "../../models/t5/model.ts";
import { vaeGraphs } from "../../models/vae/batches.ts";
import { weightTypes, type Model } from "./model.ts";

/** Widths beyond these change no kernel, and weights of layers as wide take seconds to draw. */
const MOST_HEADS = 24;
const MOST_T5 = { d_model: 1024, d_ff: 2816, num_heads: 16, vocab_size: 64 };

/** From little work to much: latent frames, rows and columns of the transformer, and rows and columns of the decoder. */
export const PROBE_SIZES = [
  { latents: [2, 16, 16], decoded: 8 },
  { latents: [4, 32, 48], decoded: 16 },
  { latents: [8, 48, 64], decoded: 32 },
] as const;

/** @param size one of {@link PROBE_SIZES}, by its place */
export function* probeGraphs(model: Pick<Model, "configs" | "dtype" | "files">, size: number): Generator<Graph> {
  const { configs, dtype } = model;
  const { latents, decoded } = PROBE_SIZES[size]!;
  const [frames, height, width] = latents;
  const t5 = { ...configs.text, num_layers: 1 };
  for (const [name, most] of Object.entries(MOST_T5)) t5[name as keyof typeof MOST_T5] = Math.min(most, t5[name as keyof typeof MOST_T5]);
  yield t5Graph(t5, weightTypes(model, "text_encoder"), { batch: 2, length: configs.transformer.max_text_seq_length, dtype });
  const { transformer } = configs;
  const heads = Math.min(transformer.num_attention_heads, MOST_HEADS);
  // Learned positions are for one size only.
  const learned = { sample_frames: (frames - 1) * transformer.temporal_compression_ratio + 1, sample_height: height, sample_width: width };
  const config = {
    ...transformer,
    num_layers: 1,
    num_attention_heads: heads,
    ...(transformer.use_learned_positional_embeddings ? learned : {}),
  };
  const conditionChannels = transformer.in_channels - configs.vae.latent_channels;
  yield denoiseGraph(
    config,
    weightTypes(model, "transformer"),
    {
      samples: 1,
      frames,
      height,
      width,
      textLength: transformer.max_text_seq_length,
      guidance: true,
      stochastic: false,
      ...(conditionChannels > 0 ? { conditionChannels } : {}),
    },
    dtype,
  );
  const shape = { part: "decode", batch: 1, frames: 2, height: decoded, width: decoded, format: "rgba", dtype } as const;
  yield* vaeGraphs(configs.vae, { type: () => dtype }, shape).graphs;
}
