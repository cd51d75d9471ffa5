/**
 * Every key of the reference's own configs, changed: it is refused by name, or it does not matter, or it changes what the engine does.
 * A key that nobody knows is named in a warning.
 */
import { afterAll, describe, expect, test } from "vitest";
import type { Judged } from "../../src/checkpoint/config-keys.ts";
import { CogVideoX } from "../../src/index.ts";
import { judgeT5Config } from "../../src/models/t5/config.ts";
import { judgeTransformerConfig } from "../../src/models/cogvideox/config.ts";
import { judgeVaeConfig } from "../../src/models/vae/config.ts";
import { judgeSchedulerConfig } from "../../src/diffusion/config.ts";
import { testGpu } from "../support/gpu.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";

type Json = Record<string, unknown>;
/**
 * `honoured`: it is in the config that the engine works from (the reference cases and the fuzzer
 * prove what it does); `none`: it changes no result.
 */
type Fate = "honoured" | "none" | "refused";

interface Component {
  readonly judge: (json: Json) => Judged<object>;
  /** A legal config. */
  readonly base: Json;
  /** Key, another value that the reference takes, and what becomes of it; beside it, other changes that it needs. */
  readonly keys: readonly (readonly [key: string, value: unknown, fate: Fate, beside?: Json])[];
}

const ROTARY = { use_rotary_positional_embeddings: true };

const COMPONENTS: Record<string, Component> = {
  // The signature of CogVideoXTransformer3DModel.__init__ in diffusers 0.42.1, all of it.
  transformer: {
    judge: judgeTransformerConfig,
    base: {},
    keys: [
      ["num_attention_heads", 4, "honoured"],
      ["attention_head_dim", 32, "honoured"],
      ["in_channels", 33, "honoured"],
      ["out_channels", 5, "honoured"],
      ["flip_sin_to_cos", false, "honoured"],
      ["freq_shift", 1, "honoured"],
      ["time_embed_dim", 30, "honoured"],
      ["ofs_embed_dim", 512, "honoured"],
      ["text_embed_dim", 77, "honoured"],
      ["num_layers", 3, "honoured"],
      ["dropout", 0.5, "none"],
      ["attention_bias", false, "honoured"],
      ["sample_width", 11, "honoured"],
      ["sample_height", 12, "honoured"],
      ["sample_frames", 13, "honoured"],
      ["patch_size", 3, "honoured"],
      ["patch_size_t", 2, "honoured", ROTARY],
      ["patch_size_t", 2, "refused"],
      ["temporal_compression_ratio", 8, "honoured"],
      ["max_text_seq_length", 9, "honoured"],
      ["activation_fn", "gelu", "refused"],
      ["activation_fn", "geglu", "refused"],
      ["timestep_activation_fn", "gelu", "refused"],
      ["norm_elementwise_affine", false, "honoured"],
      ["norm_eps", 1e-3, "honoured"],
      ["spatial_interpolation_scale", 1, "honoured"],
      ["temporal_interpolation_scale", 2, "honoured"],
      ["use_rotary_positional_embeddings", true, "honoured"],
      ["use_learned_positional_embeddings", true, "honoured", ROTARY],
      ["use_learned_positional_embeddings", true, "refused"],
      ["patch_bias", false, "honoured"],
      ["quantization_config", { load_in_8bit: true }, "refused"],
      ["_class_name", "SD3Transformer2DModel", "refused"],
      ["attention_head_dim", 30, "refused"],
      ["attention_head_dim", 192, "refused"],
      ["num_layers", 0, "refused"],
      ["num_layers", 1e9, "refused"],
      ["norm_eps", null, "refused"],
    ],
  },
  // AutoencoderKLCogVideoX.__init__; `pad_mode` is no key of it, only of the convolution, where it is honoured.
  vae: {
    judge: judgeVaeConfig,
    base: {
      block_out_channels: [8, 8],
      norm_num_groups: 4,
      temporal_compression_ratio: 2,
      down_block_types: ["CogVideoXDownBlock3D", "CogVideoXDownBlock3D"],
      up_block_types: ["CogVideoXUpBlock3D", "CogVideoXUpBlock3D"],
    },
    keys: [
      ["in_channels", 4, "refused"],
      ["out_channels", 4, "refused"],
      ["down_block_types", ["DownEncoderBlock2D", "CogVideoXDownBlock3D"], "refused"],
      ["up_block_types", ["CogVideoXUpBlock3D"], "refused"],
      ["block_out_channels", [8, 16], "honoured"],
      ["block_out_channels", [8, 9], "refused"],
      ["latent_channels", 7, "honoured"],
      ["layers_per_block", 1, "honoured"],
      ["act_fn", "gelu", "refused"],
      ["norm_eps", 1e-3, "honoured"],
      ["norm_num_groups", 2, "honoured"],
      ["norm_num_groups", 3, "refused"],
      ["temporal_compression_ratio", 4, "honoured"],
      ["temporal_compression_ratio", 3, "refused"],
      ["sample_height", 64, "honoured"],
      ["sample_width", 64, "honoured"],
      ["scaling_factor", 0.5, "honoured"],
      ["shift_factor", 0.1, "refused"],
      ["latents_mean", [0, 1], "refused"],
      ["latents_std", [1, 2], "refused"],
      ["force_upcast", false, "none"],
      ["use_quant_conv", true, "refused"],
      ["use_post_quant_conv", true, "refused"],
      ["invert_scale_latents", true, "honoured"],
      ["quantization_config", {}, "refused"],
      ["_class_name", "AutoencoderKL", "refused"],
      ["layers_per_block", 1e6, "refused"],
    ],
  },
  text_encoder: {
    judge: judgeT5Config,
    base: { d_model: 16, d_kv: 8, d_ff: 16, num_heads: 2, num_layers: 1, vocab_size: 64, feed_forward_proj: "gated-gelu" },
    keys: [
      ["vocab_size", 65, "honoured"],
      ["d_model", 20, "honoured"],
      ["d_model", 18, "refused"],
      ["d_kv", 12, "honoured"],
      ["d_kv", 132, "refused"],
      ["d_ff", 20, "honoured"],
      ["num_layers", 2, "honoured"],
      ["num_decoder_layers", 3, "none"],
      ["num_heads", 3, "honoured"],
      ["relative_attention_num_buckets", 10, "honoured"],
      ["relative_attention_max_distance", 64, "honoured"],
      ["relative_attention_max_distance", 4, "refused"],
      ["dropout_rate", 0.5, "none"],
      ["layer_norm_epsilon", 1e-5, "honoured"],
      ["initializer_factor", 2, "none"],
      ["feed_forward_proj", "relu", "refused"],
      ["feed_forward_proj", "gated-silu", "refused"],
      ["feed_forward_proj", undefined, "refused"],
      ["is_encoder_decoder", true, "none"],
      ["use_cache", true, "none"],
      ["pad_token_id", 5, "none"],
      ["eos_token_id", 5, "none"],
      ["classifier_dropout", 0.5, "none"],
      ["dense_act_fn", "gelu", "refused"],
      ["is_gated_act", false, "refused"],
      ["is_decoder", true, "refused"],
      ["add_cross_attention", true, "refused"],
      ["model_type", "umt5", "refused"],
      ["pruned_heads", { 0: [1] }, "refused"],
      ["quantization_config", { quant_method: "bitsandbytes" }, "refused"],
      ["tie_word_embeddings", true, "none"],
      ["torch_dtype", "bfloat16", "none"],
      ["dtype", "float16", "none"],
      ["task_specific_params", {}, "none"],
    ],
  },
  // CogVideoXDDIMScheduler.__init__ and CogVideoXDPMScheduler.__init__, which are alike.
  scheduler: {
    judge: judgeSchedulerConfig,
    base: {},
    keys: [
      ["num_train_timesteps", 500, "honoured"],
      ["beta_start", 0.001, "honoured"],
      ["beta_end", 0.02, "honoured"],
      ["beta_schedule", "linear", "honoured"],
      ["beta_schedule", "sigmoid", "refused"],
      ["trained_betas", [0.1, 0.2], "honoured", { num_train_timesteps: 2 }],
      ["trained_betas", [0.1, 0.2], "refused"],
      ["clip_sample", false, "none"],
      ["clip_sample_range", 3, "none"],
      ["sample_max_value", 3, "none"],
      ["set_alpha_to_one", false, "honoured"],
      ["steps_offset", 1, "honoured"],
      ["prediction_type", "v_prediction", "honoured"],
      ["prediction_type", "flow_prediction", "refused"],
      ["timestep_spacing", "trailing", "honoured"],
      ["timestep_spacing", "karras", "refused"],
      ["rescale_betas_zero_snr", true, "honoured"],
      ["snr_shift_scale", 1, "honoured"],
      ["snr_shift_scale", 0, "refused"],
      ["thresholding", true, "refused"],
      ["use_karras_sigmas", true, "refused"],
    ],
  },
};

describe.each(Object.entries(COMPONENTS))("%s", (_, { judge, base, keys }) => {
  test("the published defaults are legal, and known to the last key", () =>
    expect(judge(base)).toMatchObject({ problems: [], unknown: [] }));

  test.for(keys)("%s: %j is %s", ([key, value, fate, beside = {}]) => {
    const before = judge({ ...base, ...beside });
    const after = judge({ ...base, ...beside, [key]: value });
    expect(after.unknown).toEqual([]);
    if (fate === "refused") {
      expect(after.problems.join("; ")).toContain(key);
      return;
    }
    expect(after.problems).toEqual([]);
    if (fate === "none") expect(after.config).toEqual(before.config);
    else expect(after.config).toEqual({ ...before.config, [key]: value });
  });

  test("a key that nobody knows is named, a note of the library is not", () => {
    expect(judge({ ...base, _diffusers_version: "0.42.1", use_moonlight: true }).unknown).toEqual(["use_moonlight"]);
    expect(judge({ ...base, __proto__: { x: 1 }, constructor: 1 }).unknown).toEqual(["constructor"]);
  });
});

describe("an open checkpoint", () => {
  afterAll(removeTinyCheckpoints);
  test("warns of keys that nobody knows, by file", async () => {
    const warnings: string[] = [];
    const folder = await tinyCheckpoint({ configs: { vae: { use_moonlight: true }, scheduler: { lambda_min: -5 } } });
    await using _ = await CogVideoX.open(folder, { gpu: await testGpu(), onWarning: (message) => warnings.push(message) });
    expect(warnings).toEqual([
      expect.stringMatching(/^\[checkpoint\] vae\/config\.json: nothing here knows "use_moonlight", which may belong to a newer model/),
      expect.stringMatching(/^\[checkpoint\] scheduler\/scheduler_config\.json: nothing here knows "lambda_min"/),
    ]);
  });
  test("a ratio that the VAE's blocks do not have is refused, for the frames of a video follow from it", async () => {
    const folder = await tinyCheckpoint({ configs: { vae: { temporal_compression_ratio: 16 } } });
    await expect(CogVideoX.open(folder, { gpu: await testGpu() })).rejects.toThrow(
      /temporal_compression_ratio must be what its 4 blocks do to frames, at most 8, got 16/,
    );
  });
});
