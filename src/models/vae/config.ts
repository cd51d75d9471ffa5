/** The causal VAE's config, as published in `vae/config.json`: parsed, checked, with the published defaults. */
import { CogwheelError } from "../../errors.ts";

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

const DEFAULTS: VaeConfig = {
  in_channels: 3, out_channels: 3, block_out_channels: [128, 256, 256, 512], latent_channels: 16, layers_per_block: 3, norm_eps: 1e-6,
  norm_num_groups: 32, temporal_compression_ratio: 4, sample_height: 480, sample_width: 720, scaling_factor: 1.15258426, invert_scale_latents: false,
};

/** `json` is untrusted. Unknown keys are ignored, as the reference does; values that the engine cannot run are refused by name. */
export function parseVaeConfig(json: unknown, where = "vae/config.json"): VaeConfig {
  const fail = (key: string, expected: string, got: unknown): never => {
    throw new CogwheelError("checkpoint", `${where}: ${key} must be ${expected}, got ${JSON.stringify(got)}; this engine runs AutoencoderKLCogVideoX configs only`);
  };
  if (typeof json !== "object" || json === null || Array.isArray(json)) return fail("the config", "a JSON object", json);
  const given = json as Record<string, unknown>;
  const config: Record<string, unknown> = {};
  const positive = (v: unknown): boolean => Number.isInteger(v) && (v as number) > 0 && (v as number) <= 65536;
  for (const [key, standard] of Object.entries(DEFAULTS)) {
    const value = given[key] ?? standard;
    if (Array.isArray(standard)) {
      if (!Array.isArray(value) || value.length < 1 || value.length > 8 || !value.every(positive)) fail(key, "a list of 1 to 8 positive integers", value);
    } else if (typeof standard === "boolean") {
      if (typeof value !== "boolean") fail(key, "true or false", value);
    } else if (/eps|factor/.test(key)) {
      if (typeof value !== "number" || !Number.isFinite(value) || value <= 0) fail(key, "a number above 0", value);
    } else if (!positive(value)) fail(key, "a positive integer", value);
    config[key] = value;
  }
  const c = config as unknown as VaeConfig;

  const expect = (key: string, expected: unknown) => {
    if (given[key] !== undefined && JSON.stringify(given[key]) !== JSON.stringify(expected)) fail(key, JSON.stringify(expected), given[key]);
  };
  expect("_class_name", "AutoencoderKLCogVideoX");
  expect("act_fn", "silu");
  expect("use_quant_conv", false);
  expect("use_post_quant_conv", false);
  for (const key of ["shift_factor", "latents_mean", "latents_std"]) expect(key, null);
  expect("down_block_types", c.block_out_channels.map(() => "CogVideoXDownBlock3D"));
  expect("up_block_types", c.block_out_channels.map(() => "CogVideoXUpBlock3D"));
  for (const channels of c.block_out_channels) if (channels % c.norm_num_groups) fail("block_out_channels", `multiples of norm_num_groups (${c.norm_num_groups})`, c.block_out_channels);
  if (c.in_channels !== 3) fail("in_channels", "3", c.in_channels);
  if (c.out_channels !== 3) fail("out_channels", "3", c.out_channels);
  if (!Number.isInteger(Math.log2(c.temporal_compression_ratio)) || temporalLevels(c) > c.block_out_channels.length) {
    fail("temporal_compression_ratio", `a power of two up to ${2 ** c.block_out_channels.length}`, c.temporal_compression_ratio);
  }
  return c;
}

/** How many of the blocks halve (double) the frames. */
export const temporalLevels = (c: VaeConfig): number => Math.log2(c.temporal_compression_ratio);

/** Pixels a latent, each way. */
export const spatialRatio = (c: VaeConfig): number => 2 ** (c.block_out_channels.length - 1);
