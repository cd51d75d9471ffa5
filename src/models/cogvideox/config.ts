/** The transformer's config, as published in `transformer/config.json`: judged, with the published defaults. */
import { ConfigKeys, configObject, legal, type Judged } from "../../checkpoint/config-keys.ts";

export interface TransformerConfig {
  readonly num_attention_heads: number;
  readonly attention_head_dim: number;
  readonly in_channels: number;
  readonly out_channels: number;
  readonly flip_sin_to_cos: boolean;
  readonly freq_shift: number;
  readonly time_embed_dim: number;
  readonly ofs_embed_dim: number | null;
  readonly text_embed_dim: number;
  readonly num_layers: number;
  readonly attention_bias: boolean;
  readonly sample_width: number;
  readonly sample_height: number;
  readonly sample_frames: number;
  readonly patch_size: number;
  readonly patch_size_t: number | null;
  readonly temporal_compression_ratio: number;
  readonly max_text_seq_length: number;
  readonly norm_elementwise_affine: boolean;
  readonly norm_eps: number;
  readonly spatial_interpolation_scale: number;
  readonly temporal_interpolation_scale: number;
  readonly use_rotary_positional_embeddings: boolean;
  readonly use_learned_positional_embeddings: boolean;
  readonly patch_bias: boolean;
}

/**
 * The rule: which transformers the engine runs. Everything that reads, plans or draws configs asks it. All that diffusers'
 * CogVideoXTransformer3DModel takes is legal but head widths that are no multiple of 4 or above 128, and activations that no
 * published checkpoint has. `json` is untrusted.
 * @param part a block by itself (CogVideoXBlock) has neither positions nor patches
 */
export function judgeTransformerConfig(
  json: Readonly<Record<string, unknown>>,
  part: "model" | "block" = "model",
): Judged<TransformerConfig> {
  const keys = new ConfigKeys(json);
  const optional = (name: string, most: number) =>
    keys.read<number | null>(
      name,
      null,
      (v) => v === null || (Number.isInteger(v) && (v as number) > 0 && (v as number) <= most),
      `null or at most ${most}`,
    );
  const positive = (name: string, preset: number) => keys.number(name, preset, (v) => v > 0, "a number above 0");
  const c: TransformerConfig = {
    num_attention_heads: keys.count("num_attention_heads", 30, { most: 1024 }),
    attention_head_dim: keys.count("attention_head_dim", 64),
    in_channels: keys.count("in_channels", 16, { most: 4096 }),
    out_channels: keys.count("out_channels", 16, { most: 4096 }),
    flip_sin_to_cos: keys.flag("flip_sin_to_cos", true),
    freq_shift: keys.number("freq_shift", 0, (v) => v >= 0 && v < 2, "a number from 0 to below 2"),
    time_embed_dim: keys.count("time_embed_dim", 512),
    ofs_embed_dim: optional("ofs_embed_dim", 65536),
    text_embed_dim: keys.count("text_embed_dim", 4096),
    num_layers: keys.count("num_layers", 30, { most: 1024 }),
    attention_bias: keys.flag("attention_bias", true),
    sample_width: keys.count("sample_width", 90),
    sample_height: keys.count("sample_height", 60),
    sample_frames: keys.count("sample_frames", 49),
    patch_size: keys.count("patch_size", 2, { most: 64 }),
    patch_size_t: optional("patch_size_t", 8),
    temporal_compression_ratio: keys.count("temporal_compression_ratio", 4, { most: 256 }),
    max_text_seq_length: keys.count("max_text_seq_length", 226),
    norm_elementwise_affine: keys.flag("norm_elementwise_affine", true),
    norm_eps: keys.number("norm_eps", 1e-5, (v) => v > 0 && v < 1, "a number between 0 and 1"),
    spatial_interpolation_scale: positive("spatial_interpolation_scale", 1.875),
    temporal_interpolation_scale: positive("temporal_interpolation_scale", 1),
    use_rotary_positional_embeddings: keys.flag("use_rotary_positional_embeddings", false),
    use_learned_positional_embeddings: keys.flag("use_learned_positional_embeddings", false),
    patch_bias: keys.flag("patch_bias", true),
  };
  if (part === "model") keys.only("_class_name", ["CogVideoXTransformer3DModel"]);
  else {
    keys.read("dim", undefined, (v) => v === c.num_attention_heads * c.attention_head_dim, "num_attention_heads · attention_head_dim");
    for (const name of ["qk_norm", "ff_bias", "attention_out_bias"]) keys.only(name, [true]);
    keys.only("ff_inner_dim", [null, 4 * c.num_attention_heads * c.attention_head_dim]);
    keys.ignore("final_dropout");
  }
  keys.only("activation_fn", ["gelu-approximate"]);
  keys.only("timestep_activation_fn", ["silu"]);
  keys.only("quantization_config", [null], "quantized weights");
  keys.ignore("dropout"); // of training
  if (keys.problems.length) return { config: c, problems: keys.problems, unknown: keys.unknown };

  const width = c.num_attention_heads * c.attention_head_dim;
  const rotary = c.use_rotary_positional_embeddings;
  if (c.attention_head_dim % 4 || c.attention_head_dim > 128)
    keys.refuse("attention_head_dim", "a multiple of 4 up to 128", c.attention_head_dim);
  else if (rotary && c.attention_head_dim % 16)
    keys.refuse("attention_head_dim", "a multiple of 16 with rotary embeddings", c.attention_head_dim);
  if (part === "block") return { config: c, problems: keys.problems, unknown: keys.unknown };
  if ((!rotary || c.use_learned_positional_embeddings) && width % 16)
    keys.refuse(
      "num_attention_heads",
      "such that heads · attention_head_dim is a multiple of 16 with added positions",
      c.num_attention_heads,
    );
  if (width > 65536) keys.refuse("num_attention_heads", "such that heads · attention_head_dim is at most 65536", c.num_attention_heads);
  if (c.use_learned_positional_embeddings && !rotary)
    keys.refuse("use_learned_positional_embeddings", "false without rotary embeddings", true);
  // The tables of added positions have a row for every latent frame, and patches of several frames have too few tokens for them.
  if (c.patch_size_t !== null && c.patch_size_t > 1 && (!rotary || c.use_learned_positional_embeddings))
    keys.refuse("patch_size_t", "null or 1 with added positions", c.patch_size_t);
  if (c.ofs_embed_dim !== null && c.ofs_embed_dim !== c.time_embed_dim)
    keys.refuse("ofs_embed_dim", `null or time_embed_dim (${c.time_embed_dim})`, c.ofs_embed_dim);
  if (c.ofs_embed_dim !== null && c.ofs_embed_dim % 4) keys.refuse("ofs_embed_dim", "null or a multiple of 4", c.ofs_embed_dim);
  if (c.patch_size > c.sample_height || c.patch_size > c.sample_width)
    keys.refuse("patch_size", `at most sample_height and sample_width (${c.sample_height}, ${c.sample_width})`, c.patch_size);
  return { config: c, problems: keys.problems, unknown: keys.unknown };
}

/** The config of a file, or an error that says all that is wrong. */
export function parseTransformerConfig(
  json: unknown,
  where = "transformer/config.json",
  part: "model" | "block" = "model",
): TransformerConfig {
  return legal(
    "checkpoint",
    where,
    judgeTransformerConfig(configObject("checkpoint", where, json), part),
    "this engine runs CogVideoXTransformer3DModel configs only",
  );
}
