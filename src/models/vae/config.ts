/** The causal VAE's config, as published in `vae/config.json`: judged, with the published defaults. */
import { ConfigKeys, configObject, legal, type Judged } from "../../checkpoint/config-keys.ts";

export interface VaeConfig {
  readonly in_channels: number;
  readonly out_channels: number;
  readonly block_out_channels: readonly number[];
  readonly latent_channels: number;
  readonly layers_per_block: number;
  readonly norm_eps: number;
  readonly norm_num_groups: number;
  readonly temporal_compression_ratio: number;
  readonly sample_height: number;
  readonly sample_width: number;
  /** The transformer sees latents times this. */
  readonly scaling_factor: number;
  /** CogVideoX 1.5's image-to-video divides an image's latents by the factor instead. */
  readonly invert_scale_latents: boolean;
}

/**
 * The rule: which VAEs the engine runs. Everything that reads, plans or draws configs asks it. All that diffusers' AutoencoderKLCogVideoX
 * takes is legal but other channels than a picture's three, other activations, and the convolutions and statistics beside the latent
 * that no CogVideoX has and its pipelines do not apply. `json` is untrusted.
 */
export function judgeVaeConfig(json: Readonly<Record<string, unknown>>): Judged<VaeConfig> {
  const keys = new ConfigKeys(json);
  const positive = (v: unknown): boolean => Number.isInteger(v) && (v as number) > 0 && (v as number) <= 65536;
  const above = (name: string, preset: number) => keys.number(name, preset, (v) => v > 0, "a number above 0");
  const c: VaeConfig = {
    in_channels: keys.count("in_channels", 3),
    out_channels: keys.count("out_channels", 3),
    block_out_channels: keys.read(
      "block_out_channels",
      [128, 256, 256, 512],
      (v) => Array.isArray(v) && v.length >= 1 && v.length <= 8 && v.every(positive),
      "a list of 1 to 8 whole numbers from 1 to 65536",
    ),
    latent_channels: keys.count("latent_channels", 16, { most: 4096 }),
    layers_per_block: keys.count("layers_per_block", 3, { most: 64 }),
    norm_eps: above("norm_eps", 1e-6),
    norm_num_groups: keys.count("norm_num_groups", 32),
    temporal_compression_ratio: keys.count("temporal_compression_ratio", 4, { most: 256 }),
    sample_height: keys.count("sample_height", 480),
    sample_width: keys.count("sample_width", 720),
    scaling_factor: above("scaling_factor", 1.15258426),
    invert_scale_latents: keys.flag("invert_scale_latents", false),
  };
  keys.only("_class_name", ["AutoencoderKLCogVideoX"]);
  keys.only("act_fn", ["silu"]);
  for (const name of ["use_quant_conv", "use_post_quant_conv"]) keys.only(name, [false]);
  for (const name of ["shift_factor", "latents_mean", "latents_std", "quantization_config"]) keys.only(name, [null]);
  keys.only("down_block_types", [c.block_out_channels.map(() => "CogVideoXDownBlock3D")]);
  keys.only("up_block_types", [c.block_out_channels.map(() => "CogVideoXUpBlock3D")]);
  keys.ignore("force_upcast"); // sums are f32 always
  if (keys.problems.length) return { config: c, problems: keys.problems, unknown: keys.unknown };

  if (c.block_out_channels.some((channels) => channels % c.norm_num_groups))
    keys.refuse("block_out_channels", `multiples of norm_num_groups (${c.norm_num_groups})`, c.block_out_channels);
  if (c.in_channels !== 3) keys.refuse("in_channels", "3", c.in_channels);
  if (c.out_channels !== 3) keys.refuse("out_channels", "3", c.out_channels);
  const levels = Math.log2(c.temporal_compression_ratio);
  if (!Number.isInteger(levels) || levels > c.block_out_channels.length)
    keys.refuse("temporal_compression_ratio", `a power of two up to ${2 ** c.block_out_channels.length}`, c.temporal_compression_ratio);
  return { config: c, problems: keys.problems, unknown: keys.unknown };
}

/** The config of a file, or an error that says all that is wrong. */
export function parseVaeConfig(json: unknown, where = "vae/config.json"): VaeConfig {
  return legal(
    "checkpoint",
    where,
    judgeVaeConfig(configObject("checkpoint", where, json)),
    "this engine runs AutoencoderKLCogVideoX configs only",
  );
}

/** How many of the blocks halve (double) the frames: the last one never does, whatever the ratio says. */
export const temporalLevels = (c: VaeConfig): number =>
  Math.min(Math.floor(Math.log2(c.temporal_compression_ratio)), c.block_out_channels.length - 1);

/** Pixels a latent, each way. */
export const spatialRatio = (c: VaeConfig): number => 2 ** (c.block_out_channels.length - 1);
