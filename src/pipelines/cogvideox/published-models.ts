/**
 * The published checkpoints, as their folders say it: the class of the pipeline and the config of every component, at full size. What a
 * model will take can be computed from this before anything of it is downloaded.
 */

/** A published checkpoint. Configs hold what differs from the published defaults, and the classes' names. */
export interface PublishedModel {
  /** As its repository is called. */
  readonly title: string;
  readonly className: string;
  readonly configs: Readonly<Record<"text_encoder" | "transformer" | "vae" | "scheduler", Readonly<Record<string, unknown>>>>;
  /** How its weights are stored. */
  readonly dtype: "F16" | "BF16";
  /** The most bytes in one file of a component's weights; more are split into shards. */
  readonly shardBytes: Readonly<Record<"text_encoder" | "transformer" | "vae", number>>;
}

/** T5 v1.1 XXL, the text encoder of all of them. */
const T5_XXL = {
  architectures: ["T5EncoderModel"],
  model_type: "t5",
  feed_forward_proj: "gated-gelu",
  is_gated_act: true,
  dense_act_fn: "gelu_new",
  d_model: 4096,
  d_kv: 64,
  d_ff: 10240,
  num_layers: 24,
  num_heads: 64,
  vocab_size: 32128,
  relative_attention_num_buckets: 32,
  relative_attention_max_distance: 128,
  layer_norm_epsilon: 1e-6,
};

const TWO = {
  _class_name: "CogVideoXTransformer3DModel",
  num_attention_heads: 30,
  attention_head_dim: 64,
  in_channels: 16,
  out_channels: 16,
  num_layers: 30,
  patch_size: 2,
  text_embed_dim: 4096,
  time_embed_dim: 512,
  max_text_seq_length: 226,
  sample_height: 60,
  sample_width: 90,
  sample_frames: 49,
  temporal_compression_ratio: 4,
  use_rotary_positional_embeddings: false,
  use_learned_positional_embeddings: false,
};
const FIVE = { ...TWO, num_attention_heads: 48, num_layers: 42, use_rotary_positional_embeddings: true };
const FIFTEEN = { ...FIVE, patch_size_t: 2, patch_bias: false, sample_height: 300, sample_width: 300, sample_frames: 81 };

const VAE = {
  _class_name: "AutoencoderKLCogVideoX",
  block_out_channels: [128, 256, 256, 512],
  latent_channels: 16,
  layers_per_block: 3,
  norm_num_groups: 32,
  temporal_compression_ratio: 4,
  sample_height: 480,
  sample_width: 720,
  scaling_factor: 1.15258426,
};
const VAE_FIVE = { ...VAE, scaling_factor: 0.7 };
const VAE_FIFTEEN = { ...VAE_FIVE, invert_scale_latents: true };

const SCHEDULE = {
  prediction_type: "v_prediction",
  rescale_betas_zero_snr: true,
  timestep_spacing: "trailing",
  set_alpha_to_one: true,
  beta_schedule: "scaled_linear",
  beta_start: 0.00085,
  beta_end: 0.012,
  num_train_timesteps: 1000,
};
const DDIM = { _class_name: "CogVideoXDDIMScheduler", ...SCHEDULE, snr_shift_scale: 3 };
const DPM = { _class_name: "CogVideoXDPMScheduler", ...SCHEDULE, snr_shift_scale: 1 };

const GB = 1e9;

/** By the names that commands take. */
export const publishedModels = {
  "cogvideox-2b": {
    title: "CogVideoX-2b",
    className: "CogVideoXPipeline",
    configs: { text_encoder: T5_XXL, transformer: TWO, vae: VAE, scheduler: DDIM },
    dtype: "F16",
    shardBytes: { text_encoder: 5 * GB, transformer: 10 * GB, vae: 10 * GB },
  },
  "cogvideox-5b": {
    title: "CogVideoX-5b",
    className: "CogVideoXPipeline",
    configs: { text_encoder: T5_XXL, transformer: FIVE, vae: VAE_FIVE, scheduler: DPM },
    dtype: "BF16",
    shardBytes: { text_encoder: 5 * GB, transformer: 10 * GB, vae: 10 * GB },
  },
  "cogvideox-5b-i2v": {
    title: "CogVideoX-5b-I2V",
    className: "CogVideoXImageToVideoPipeline",
    configs: {
      text_encoder: T5_XXL,
      transformer: { ...FIVE, in_channels: 32, use_learned_positional_embeddings: true },
      vae: VAE_FIVE,
      scheduler: DPM,
    },
    dtype: "BF16",
    shardBytes: { text_encoder: 5 * GB, transformer: 5 * GB, vae: 10 * GB },
  },
  "cogvideox-1.5-5b": {
    title: "CogVideoX1.5-5B",
    className: "CogVideoXPipeline",
    configs: { text_encoder: T5_XXL, transformer: FIFTEEN, vae: VAE_FIFTEEN, scheduler: DPM },
    dtype: "BF16",
    shardBytes: { text_encoder: 5 * GB, transformer: 5 * GB, vae: 10 * GB },
  },
  "cogvideox-1.5-5b-i2v": {
    title: "CogVideoX1.5-5B-I2V",
    className: "CogVideoXImageToVideoPipeline",
    configs: {
      text_encoder: T5_XXL,
      transformer: { ...FIFTEEN, in_channels: 32, ofs_embed_dim: 512 },
      vae: VAE_FIFTEEN,
      scheduler: DPM,
    },
    dtype: "BF16",
    shardBytes: { text_encoder: 5 * GB, transformer: 5 * GB, vae: 10 * GB },
  },
} as const satisfies Record<string, PublishedModel>;

export type PublishedName = keyof typeof publishedModels;
