/** A scheduler's configuration: `scheduler/scheduler_config.json`, checked. */
import { CogwheelError } from "../errors.ts";

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
 * Checks a parsed JSON value; everything wrong with it is told at once. `clip_sample` and its ranges are read over, as
 * the reference's steps do. `file` is what messages call it.
 */
export function parseSchedulerConfig(json: unknown, file = "scheduler/scheduler_config.json"): SchedulerConfig {
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw new CogwheelError("scheduler", `${file}: must hold a JSON object, got ${JSON.stringify(json) ?? "nothing"}; download the file again`);
  const given = json as Record<string, unknown>;
  const wrong: string[] = [];
  const read = <T>(name: string, preset: T, ok: (value: unknown) => boolean, rule: string): T => {
    const value = given[name] === undefined ? preset : given[name];
    if (ok(value)) return value as T;
    wrong.push(`${name} must be ${rule}, got ${JSON.stringify(value)}`);
    return preset;
  };
  const number = (name: string, preset: number, least: number, below: number): number =>
    read(name, preset, (v) => typeof v === "number" && v >= least && v < below, `a number from ${least} to below ${below}`);
  const whole = (name: string, preset: number, least: number, most: number): number =>
    read(name, preset, (v) => Number.isInteger(v) && (v as number) >= least && (v as number) <= most, `a whole number from ${least} to ${most}`);
  const flag = (name: string, preset: boolean): boolean => read(name, preset, (v) => typeof v === "boolean", "true or false");
  const oneOf = <T extends string>(name: string, preset: T, choices: readonly T[]): T =>
    read(name, preset, (v) => choices.includes(v as T), `one of ${choices.join(", ")}`);

  const config: SchedulerConfig = {
    num_train_timesteps: whole("num_train_timesteps", 1000, 1, 1_000_000),
    beta_start: number("beta_start", 0.00085, 0, 1),
    beta_end: number("beta_end", 0.012, 0, 1),
    beta_schedule: oneOf("beta_schedule", "scaled_linear", ["linear", "scaled_linear", "squaredcos_cap_v2"]),
    trained_betas: read<readonly number[] | null>(
      "trained_betas", null,
      (v) => v === null || (Array.isArray(v) && v.length > 0 && v.every((b) => typeof b === "number" && b >= 0 && b < 1)),
      "null or a list of numbers from 0 to below 1",
    ),
    set_alpha_to_one: flag("set_alpha_to_one", true),
    steps_offset: whole("steps_offset", 0, 0, 1_000_000),
    prediction_type: oneOf("prediction_type", "epsilon", ["epsilon", "sample", "v_prediction"]),
    timestep_spacing: oneOf("timestep_spacing", "leading", ["leading", "linspace", "trailing"]),
    rescale_betas_zero_snr: flag("rescale_betas_zero_snr", false),
    snr_shift_scale: read("snr_shift_scale", 3.0, (v) => typeof v === "number" && v > 0 && Number.isFinite(v), "a number above 0"),
  };
  if (config.trained_betas && config.trained_betas.length !== config.num_train_timesteps) {
    wrong.push(`trained_betas must hold num_train_timesteps = ${config.num_train_timesteps} values, got ${config.trained_betas.length}`);
  }
  if (wrong.length) throw new CogwheelError("scheduler", `${file}: ${wrong.join("; ")}; correct the file or use a CogVideoX scheduler`);
  return config;
}
