/** A scheduler's configuration: `scheduler/scheduler_config.json`, judged. */
import { ConfigKeys, configObject, legal, type Judged } from "../checkpoint/config-keys.ts";

/** Names, defaults and meanings are those of diffusers' CogVideoXDDIMScheduler and CogVideoXDPMScheduler. */
export interface SchedulerConfig {
  readonly num_train_timesteps: number;
  readonly beta_start: number;
  readonly beta_end: number;
  readonly beta_schedule: "linear" | "scaled_linear" | "squaredcos_cap_v2";
  /** Betas given outright, in place of a schedule. */
  readonly trained_betas: readonly number[] | null;
  readonly set_alpha_to_one: boolean;
  readonly steps_offset: number;
  readonly prediction_type: "epsilon" | "sample" | "v_prediction";
  readonly timestep_spacing: "leading" | "linspace" | "trailing";
  readonly rescale_betas_zero_snr: boolean;
  readonly snr_shift_scale: number;
}

/**
 * The rule: which schedules the engine runs: all that diffusers' two classes take. Whatever they would divide by zero for is refused.
 * `clip_sample` and its ranges are known and read over, as the reference's steps do. `json` is untrusted.
 */
export function judgeSchedulerConfig(json: Readonly<Record<string, unknown>>): Judged<SchedulerConfig> {
  const keys = new ConfigKeys(json);
  const beta = (name: string, preset: number): number => keys.number(name, preset, (v) => v >= 0 && v < 1, "a number from 0 to below 1");
  const config: SchedulerConfig = {
    num_train_timesteps: keys.count("num_train_timesteps", 1000, { most: 1_000_000 }),
    beta_start: beta("beta_start", 0.00085),
    beta_end: beta("beta_end", 0.012),
    beta_schedule: keys.oneOf("beta_schedule", "scaled_linear", ["linear", "scaled_linear", "squaredcos_cap_v2"]),
    trained_betas: keys.read<readonly number[] | null>(
      "trained_betas",
      null,
      (v) => v === null || (Array.isArray(v) && v.length > 0 && v.every((b) => typeof b === "number" && b >= 0 && b < 1)),
      "null or a list of numbers from 0 to below 1",
    ),
    set_alpha_to_one: keys.flag("set_alpha_to_one", true),
    steps_offset: keys.count("steps_offset", 0, { least: 0, most: 1_000_000 }),
    prediction_type: keys.oneOf("prediction_type", "epsilon", ["epsilon", "sample", "v_prediction"]),
    timestep_spacing: keys.oneOf("timestep_spacing", "leading", ["leading", "linspace", "trailing"]),
    rescale_betas_zero_snr: keys.flag("rescale_betas_zero_snr", false),
    snr_shift_scale: keys.number("snr_shift_scale", 3.0, (v) => v > 0, "a number above 0"),
  };
  keys.ignore("clip_sample", "clip_sample_range", "sample_max_value");
  // Samplers of other models, whose configs are written over CogVideoX's; what these say the two classes do not do.
  for (const name of ["thresholding", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_flow_sigmas"])
    keys.only(name, [false]);
  if (config.trained_betas && config.trained_betas.length !== config.num_train_timesteps) {
    keys.problems.push(
      `trained_betas must hold num_train_timesteps = ${config.num_train_timesteps} values, got ${config.trained_betas.length}`,
    );
  }
  return { config, problems: keys.problems, unknown: keys.unknown };
}

/** The config of a file, or an error that says all that is wrong. `file` is what messages call it. */
export function parseSchedulerConfig(json: unknown, file = "scheduler/scheduler_config.json"): SchedulerConfig {
  return legal(
    "scheduler",
    file,
    judgeSchedulerConfig(configObject("scheduler", file, json)),
    "correct the file or use a CogVideoX scheduler",
  );
}
