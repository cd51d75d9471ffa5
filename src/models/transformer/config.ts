/** The transformer's config, as published in `transformer/config.json`: parsed, checked, with the published defaults. */
import { CogwheelError } from "../../errors.ts";

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

const DEFAULTS: TransformerConfig = {
  num_attention_heads: 30, attention_head_dim: 64, in_channels: 16, out_channels: 16, flip_sin_to_cos: true, freq_shift: 0,
  time_embed_dim: 512, ofs_embed_dim: null, text_embed_dim: 4096, num_layers: 30, attention_bias: true, sample_width: 90,
  sample_height: 60, sample_frames: 49, patch_size: 2, patch_size_t: null, temporal_compression_ratio: 4,
  max_text_seq_length: 226, norm_elementwise_affine: true, norm_eps: 1e-5, spatial_interpolation_scale: 1.875,
  temporal_interpolation_scale: 1, use_rotary_positional_embeddings: false, use_learned_positional_embeddings: false, patch_bias: true,
};

/** `json` is untrusted. Unknown keys are ignored, as the reference does; values that the engine cannot run are refused by name. */
export function parseTransformerConfig(json: Record<string, unknown>, where = "transformer/config.json"): TransformerConfig {
  const fail = (key: string, expected: string, got: unknown): never => {
    throw new CogwheelError("checkpoint", `${where}: ${key} must be ${expected}, got ${JSON.stringify(got)}; this engine runs CogVideoXTransformer3DModel configs only`);
  };
  const config: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(DEFAULTS)) {
    const given = json[key] ?? value;
    if (value === null || key.endsWith("_t") || key === "ofs_embed_dim") {
      if (given !== null && !(Number.isInteger(given) && (given as number) > 0)) fail(key, "null or a positive integer", given);
    } else if (typeof value === "boolean") {
      if (typeof given !== "boolean") fail(key, "true or false", given);
    } else if (typeof given !== "number" || !Number.isFinite(given) || given < 0) fail(key, "a number", given);
    else if (/scale|eps|shift/.test(key) ? given < 0 : !Number.isInteger(given) || given < 1) fail(key, "a positive integer", given);
    config[key] = given;
  }
  const c = config as unknown as TransformerConfig;
  const expect = (key: string, allowed: readonly unknown[]) => {
    if (json[key] !== undefined && !allowed.includes(json[key])) fail(key, allowed.map((v) => JSON.stringify(v)).join(" or "), json[key]);
  };
  expect("activation_fn", ["gelu-approximate"]);
  expect("timestep_activation_fn", ["silu"]);
  if (c.attention_head_dim % 4 || c.attention_head_dim > 128) fail("attention_head_dim", "a multiple of 4 up to 128", c.attention_head_dim);
  if (c.use_rotary_positional_embeddings && c.attention_head_dim % 16) fail("attention_head_dim", "a multiple of 16 with rotary embeddings", c.attention_head_dim);
  if (c.patch_size_t !== null && c.patch_size_t > 8) fail("patch_size_t", "null or at most 8", c.patch_size_t);
  const patch = (c.patch_size_t ?? 1) * c.patch_size ** 2;
  if ((c.out_channels * patch) % 4) fail("out_channels", "such that a patch has a multiple of 4 values", c.out_channels);
  if (c.ofs_embed_dim !== null && c.ofs_embed_dim !== c.time_embed_dim) fail("ofs_embed_dim", `null or time_embed_dim (${c.time_embed_dim})`, c.ofs_embed_dim);
  if (c.use_learned_positional_embeddings && !c.use_rotary_positional_embeddings) fail("use_learned_positional_embeddings", "false without rotary embeddings", true);
  return c;
}

/** Every weight by its published name, with its shape. */
export function transformerWeights(c: TransformerConfig): Map<string, number[]> {
  const d = c.num_attention_heads * c.attention_head_dim;
  const weights = new Map<string, number[]>();
  const linear = (name: string, out: number, inner: number, bias = true) => {
    weights.set(`${name}.weight`, [out, inner]);
    if (bias) weights.set(`${name}.bias`, [out]);
  };
  const norm = (name: string, width: number, affine = true) => {
    if (!affine) return;
    weights.set(`${name}.weight`, [width]);
    weights.set(`${name}.bias`, [width]);
  };
  if (c.patch_size_t === null) {
    weights.set("patch_embed.proj.weight", [d, c.in_channels, c.patch_size, c.patch_size]);
    if (c.patch_bias) weights.set("patch_embed.proj.bias", [d]);
  } else linear("patch_embed.proj", d, c.in_channels * c.patch_size ** 2 * c.patch_size_t); // has a bias whatever patch_bias says
  linear("patch_embed.text_proj", d, c.text_embed_dim);
  if (c.use_learned_positional_embeddings) weights.set("patch_embed.pos_embedding", [1, learnedPositions(c), d]);
  linear("time_embedding.linear_1", c.time_embed_dim, d);
  linear("time_embedding.linear_2", c.time_embed_dim, c.time_embed_dim);
  if (c.ofs_embed_dim !== null) {
    linear("ofs_embedding.linear_1", c.ofs_embed_dim, c.ofs_embed_dim);
    linear("ofs_embedding.linear_2", c.ofs_embed_dim, c.ofs_embed_dim);
  }
  for (let i = 0; i < c.num_layers; i++) {
    const block = `transformer_blocks.${i}`;
    for (const n of ["norm1", "norm2"]) {
      linear(`${block}.${n}.linear`, 6 * d, c.time_embed_dim);
      norm(`${block}.${n}.norm`, d, c.norm_elementwise_affine);
    }
    for (const n of ["to_q", "to_k", "to_v"]) linear(`${block}.attn1.${n}`, d, d, c.attention_bias);
    linear(`${block}.attn1.to_out.0`, d, d);
    for (const n of ["norm_q", "norm_k"]) norm(`${block}.attn1.${n}`, c.attention_head_dim);
    linear(`${block}.ff.net.0.proj`, 4 * d, d);
    linear(`${block}.ff.net.2`, d, 4 * d);
  }
  norm("norm_final", d, c.norm_elementwise_affine);
  linear("norm_out.linear", 2 * d, c.time_embed_dim);
  norm("norm_out.norm", d, c.norm_elementwise_affine);
  linear("proj_out", c.out_channels * c.patch_size ** 2 * (c.patch_size_t ?? 1), d);
  return weights;
}

function learnedPositions(c: TransformerConfig): number {
  const frames = Math.floor((c.sample_frames - 1) / c.temporal_compression_ratio) + 1;
  return c.max_text_seq_length + frames * Math.floor(c.sample_height / c.patch_size) * Math.floor(c.sample_width / c.patch_size);
}
