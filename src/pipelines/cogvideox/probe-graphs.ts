/**
 * A layer of each of a model's networks on few tokens and pixels: what a probe runs to learn how fast an adapter is. They have the
 * model's own widths, for a kernel is not as fast at every width.
 */
import type { Graph } from "../../graph/graph.ts";
import { denoiseGraph } from "../../models/cogvideox/model.ts";
import { t5Graph } from "../../models/t5/model.ts";
import { vaeGraphs } from "../../models/vae/batches.ts";
import { weightTypes, type Model } from "./model.ts";

/** Rows of the table of words, of which a prompt's alone are loaded. */
const WORDS = 64;

/** From little work to much: latent frames, rows and columns of the transformer, and rows and columns of the decoder. */
export const PROBE_SIZES = [
  { latents: [2, 8, 8], decoded: 4 },
  { latents: [2, 16, 16], decoded: 8 },
  { latents: [4, 32, 48], decoded: 16 },
  { latents: [8, 48, 64], decoded: 32 },
] as const;

/** First those that most of a generation's time goes to. @param size one of {@link PROBE_SIZES}, by its place */
export function* probeGraphs(model: Pick<Model, "configs" | "dtype" | "files">, size: number): Generator<Graph> {
  const { configs, dtype } = model;
  const { latents } = PROBE_SIZES[size]!;
  const [frames, height, width] = latents;
  const { transformer } = configs;
  // Learned positions are for one size only.
  const learned = { sample_frames: (frames - 1) * transformer.temporal_compression_ratio + 1, sample_height: height, sample_width: width };
  const config = {
    ...transformer,
    num_layers: 1,
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
  yield* probeDecoder(model, size);
  const t5 = { ...configs.text, num_layers: 1, vocab_size: Math.min(WORDS, configs.text.vocab_size) };
  // A prompt by itself, then one beside the other.
  const texts = { batch: size === 0 ? 1 : 2, length: configs.transformer.max_text_seq_length, dtype };
  yield t5Graph(t5, weightTypes(model, "text_encoder"), texts);
}

/** The decoder's alone: the first frames, and those that follow. */
export function probeDecoder({ configs, dtype }: Pick<Model, "configs" | "dtype">, size: number): readonly Graph[] {
  const { decoded } = PROBE_SIZES[size]!;
  const shape = { part: "decode", batch: 1, frames: 2, height: decoded, width: decoded, format: "rgba", dtype } as const;
  return vaeGraphs(configs.vae, { type: () => dtype }, shape).graphs;
}
