/** Whole modules of the published models, at their own widths. */
import { parseTransformerConfig } from "../../src/models/cogvideox/config.ts";
import { transformerWeights } from "../../src/models/cogvideox/weights.ts";
import { parseT5Config } from "../../src/models/t5/config.ts";
import { expectedT5Weights } from "../../src/models/t5/weights.ts";
import { parseVaeConfig } from "../../src/models/vae/config.ts";
import { decodedFrames, vaeWeights } from "../../src/models/vae/batches.ts";
import type { BenchCase, Target, TensorSpec } from "./case.ts";

export interface BlockSizes {
  readonly heads: number;
  readonly headWidth: number;
  readonly text: number;
  readonly video: number;
  readonly timeWidth: number;
}
/** `inner`: columns of the feed-forward layer. The bias is given, [heads, 2 · tokens − 1]: an encoder computes it once for all blocks. */
export interface T5Sizes {
  readonly heads: number;
  readonly headWidth: number;
  readonly inner: number;
  readonly tokens: number;
}
/** Latents [1, channels, frames, height, width]; the published channel widths. */
export interface DecoderSizes {
  readonly frames: number;
  readonly height: number;
  readonly width: number;
}

/** Weights such that what comes out is as large as what goes in: matrices by their inner width, norms around one, other vectors small. */
function weightSpecs(shapes: Iterable<readonly [string, readonly number[]]>): Record<string, TensorSpec> {
  return Object.fromEntries(
    [...shapes].map(([name, shape], i) => {
      const inner = shape.slice(1).reduce((a, b) => a * b, 1);
      const gain = /(norm\w*|norm_layer)\.weight$/.test(name) || /conv_y\.conv\.bias$/.test(name);
      return [
        name,
        shape.length === 1
          ? { shape, seed: 100 + i, scale: gain ? 0.2 : 0.1, offset: gain ? 1 : 0 }
          : { shape, seed: 100 + i, scale: inner ** -0.5 },
      ];
    }),
  );
}

export function blockCase(name: string, s: BlockSizes, target?: Target): BenchCase<"block", BlockSizes> {
  const config = blockConfig(s);
  const d = s.heads * s.headWidth;
  return {
    name,
    level: "block",
    kind: "block",
    sizes: s,
    tolerance: 1e-5,
    ...(target ? { target } : {}),
    inputs: {
      text: { shape: [s.text, d], seed: 1 },
      video: { shape: [s.video, d], seed: 2 },
      conditioning: { shape: [1, s.timeWidth], seed: 3 },
    },
    weights: weightSpecs([...transformerWeights(config)].filter(([weight]) => weight.startsWith("transformer_blocks.0."))),
    output: [s.text + s.video, d],
  };
}

/** What a training step of a block trains: an adapter of rank 64 on attention's four matrices, or all of its weights. */
export interface BlockStepSizes extends BlockSizes {
  readonly trained: "lora" | "full";
  /** Keeps all that the forward pass computes, as peers do, in place of a block's input and attention's result. Default false. */
  readonly keep?: boolean;
}

/** Layers that an adapter is trained on, and its rank. */
export const ADAPTED = ["to_q", "to_k", "to_v", "to_out.0"] as const;
export const RANK = 64;

/**
 * A step of training through a block: forward, gradients (with its parts computed again from the input but for attention's result, unless
 * all is kept), clipping, AdamW (at a rate of 0, so that every run is the same). What is compared is the gradient of the block's input.
 */
export function blockStepCase(name: string, s: BlockStepSizes): BenchCase<"block_step", BlockStepSizes> {
  const { inputs, weights, output } = blockCase(name, s);
  const d = s.heads * s.headWidth;
  const factors = ADAPTED.flatMap((layer, i) => [
    [`lora.${layer}.A`, { shape: [RANK, d], seed: 300 + i, scale: d ** -0.5 }] as const,
    [`lora.${layer}.B`, { shape: [d, RANK], seed: 400 + i, scale: RANK ** -0.5 }] as const,
  ]);
  return {
    name,
    level: "block",
    kind: "block_step",
    sizes: s,
    tolerance: 1e-4,
    inputs: { ...inputs, dy: { shape: output, seed: 4 } },
    weights: { ...weights, ...(s.trained === "lora" ? Object.fromEntries(factors) : {}) },
    output,
  };
}

export const blockConfig = (s: BlockSizes) =>
  parseTransformerConfig({ num_attention_heads: s.heads, attention_head_dim: s.headWidth, num_layers: 1, time_embed_dim: s.timeWidth });

export function decoderCase(name: string, s: DecoderSizes, target?: Target): BenchCase<"vae_decoder", DecoderSizes> {
  const config = parseVaeConfig({});
  return {
    name,
    level: "model",
    kind: "vae_decoder",
    sizes: s,
    tolerance: 1e-4,
    ...(target ? { target } : {}),
    inputs: { z: { shape: [1, config.latent_channels, s.frames, s.height, s.width], seed: 1 } },
    weights: weightSpecs(vaeWeights(config, ["decode"])),
    output: [1, 3, decodedFrames(config, s.frames), 8 * s.height, 8 * s.width],
  };
}

export function t5Case(name: string, s: T5Sizes): BenchCase<"t5_block", T5Sizes> {
  const config = t5Config(s);
  return {
    name,
    level: "block",
    kind: "t5_block",
    sizes: s,
    tolerance: 1e-5,
    inputs: { hidden: { shape: [1, s.tokens, config.d_model], seed: 1 }, bias: { shape: [s.heads, 2 * s.tokens - 1], seed: 2, scale: 2 } },
    weights: weightSpecs(
      [...expectedT5Weights(config)].filter(([weight]) => /block\.0\.layer/.test(weight) && !weight.includes("relative")),
    ),
    output: [1, s.tokens, config.d_model],
  };
}

export const t5Config = (s: T5Sizes) =>
  parseT5Config({
    d_model: s.heads * s.headWidth,
    d_kv: s.headWidth,
    d_ff: s.inner,
    num_layers: 1,
    num_heads: s.heads,
    vocab_size: 32128,
    feed_forward_proj: "gated-gelu",
  });

export const figureModules = [
  blockCase(
    "transformer block, 2B width, 226 + 512 tokens",
    { heads: 30, headWidth: 64, text: 226, video: 512, timeWidth: 512 },
    { ratio: 2 },
  ),
  ...(["lora", "full"] as const).map((trained) =>
    blockStepCase(`training step, ${trained}, of a transformer block, 2B width, 226 + 512 tokens`, {
      ...{ heads: 30, headWidth: 64, text: 226, video: 512, timeWidth: 512 },
      trained,
    }),
  ),
  t5Case("T5-XXL block, 226 tokens", { heads: 64, headWidth: 64, inner: 10240, tokens: 226 }),
  decoderCase("VAE decoder, published widths, 2 latent frames of 4×4", { frames: 2, height: 4, width: 4 }, { ratio: 5 }),
] as const;

/** What peers do in a step, who compute nothing again. */
export const keptStep = blockStepCase("training step, lora, all kept, of a transformer block, 2B width, 226 + 512 tokens", {
  ...{ heads: 30, headWidth: 64, text: 226, video: 512, timeWidth: 512 },
  trained: "lora",
  keep: true,
});
