/**
 * The two samplers that CogVideoX is published with, as arithmetic: a scheduler turns a number of steps into a few
 * numbers a step, and one kernel (`scheduler_step`) carries out either sampler with them:
 *
 *   original = fromSample · sample + fromPrediction · prediction
 *   next     = keep · sample + step · original + oldStep · (original of the step before) + noiseStep · (a fresh draw)
 *
 * Coefficients are computed in float64 and in closed forms that have no infinities. The first timestep of a schedule
 * with zero terminal SNR has an alpha of 0, so the log-SNR is −∞ there, and +∞ after the last step: with a = ᾱ now and
 * p = ᾱ after the step the DPM multipliers are rational in them,
 *   e^−2h = a(1 − p) / ((1 − a) p),   1 − e^−2h = (p − a) / ((1 − a) p),
 * finite for any 0 ≤ a < p ≤ 1. WGSL may assume that infinities do not exist, so none may reach a kernel.
 */
import { CogwheelError } from "../base/errors.ts";
import { parseSchedulerConfig, type SchedulerConfig } from "./config.ts";
import { alphasCumprod, chosenTimesteps, inferenceTimesteps } from "./noise-schedule.ts";

export type SchedulerKind = "ddim" | "dpm";

/** One step; see the formula above. */
export interface StepCoefficients {
  /** What the model is told: 0 … num_train_timesteps − 1. */
  readonly timestep: number;
  readonly fromSample: number;
  readonly fromPrediction: number;
  readonly keep: number;
  readonly step: number;
  readonly oldStep: number;
  readonly noiseStep: number;
  /** Draws of the sample's size that the reference takes from its generator in this step; the last one is used. */
  readonly draws: 0 | 1 | 2;
}

/** Noise on a clean sample: `original · sample + noise · draw`. */
export interface NoiseCoefficients {
  readonly original: number;
  readonly noise: number;
}

export interface Scheduler {
  readonly kind: SchedulerKind;
  readonly config: SchedulerConfig;
  /** Scale of the starting noise; 1 for both. */
  readonly initNoiseSigma: number;
  /** The timesteps of `n` steps, falling. A list is taken as it is. */
  timesteps(n: number | readonly number[]): Int32Array;
  /** The steps from number `first` on (a run that starts from a video or a saved state skips some). */
  steps(n: number | readonly number[], first?: number): StepCoefficients[];
  /** How a clean sample is brought to a timestep. */
  addNoise(timestep: number): NoiseCoefficients;
}

/** Class names of diffusers' configs; `CogVideoX…` are the only two whose numbers this engine vouches for. */
const KINDS: Readonly<Record<string, SchedulerKind>> = {
  CogVideoXDDIMScheduler: "ddim",
  CogVideoXDPMScheduler: "dpm",
  ddim: "ddim",
  dpm: "dpm",
};

/**
 * @param config parsed `scheduler_config.json`
 * @param className `_class_name` of that file, or `ddim` or `dpm` to choose: both run from the same config
 */
export function createScheduler(config: unknown, className: string): Scheduler {
  const kind = Object.hasOwn(KINDS, className) ? KINDS[className]! : undefined;
  if (!kind)
    throw new CogwheelError(
      "scheduler",
      "the scheduler must be CogVideoXDDIMScheduler or CogVideoXDPMScheduler, " +
        `got ${JSON.stringify(className)}; choose ddim or dpm, both run from the same config`,
    );
  const parsed = parseSchedulerConfig(config);
  const alphas = alphasCumprod(parsed);
  const { num_train_timesteps: total } = parsed;
  const finalAlpha = parsed.set_alpha_to_one ? 1 : alphas[0]!;
  const timestepsOf = (n: number | readonly number[]): Int32Array =>
    Array.isArray(n) ? chosenTimesteps(parsed, n) : inferenceTimesteps(parsed, n as number); // both check what they are given
  return {
    kind,
    config: parsed,
    initNoiseSigma: 1,
    timesteps: timestepsOf,
    steps(n, first = 0) {
      const timesteps = timestepsOf(n);
      if (!Number.isInteger(first) || first < 0 || first >= timesteps.length)
        throw new CogwheelError(
          "scheduler",
          `the first step must lie within 0 to ${timesteps.length - 1}, got ${first}; run fewer or more steps`,
        );
      return Array.from(timesteps.subarray(first), (timestep, i) => {
        // The reference goes down by a stride of its own, which need not lead to the next timestep of its list.
        const before = typeof n === "number" ? timestep - Math.floor(total / n) : (timesteps[first + i + 1] ?? -1);
        const a = alphas[timestep]!;
        const p = before >= 0 ? alphas[before]! : finalAlpha;
        const original = originalCoefficients(parsed, timestep, a);
        if (kind === "ddim") return { timestep, ...original, ...ddim(a, p), draws: 0 };
        const back = i > 0 && before >= 0 ? alphas[timesteps[first + i - 1]!]! : null;
        return { timestep, ...original, ...dpm(a, p, back), draws: back === null ? 1 : 2 };
      });
    },
    addNoise(timestep) {
      if (!Number.isInteger(timestep) || timestep < 0 || timestep >= total)
        throw new CogwheelError("scheduler", `a timestep must lie within 0 to ${total - 1}, got ${timestep}; take it from timesteps()`);
      const a = Math.fround(alphas[timestep]!); // the reference casts to the sample's type first
      return { original: Math.sqrt(a), noise: Math.sqrt(1 - a) };
    },
  };
}

function originalCoefficients(
  { prediction_type, rescale_betas_zero_snr }: SchedulerConfig,
  timestep: number,
  a: number,
): { fromSample: number; fromPrediction: number } {
  if (prediction_type === "sample") return { fromSample: 0, fromPrediction: 1 };
  if (prediction_type === "v_prediction") return { fromSample: Math.sqrt(a), fromPrediction: -Math.sqrt(1 - a) };
  if (a === 0) {
    throw new CogwheelError(
      "scheduler",
      "prediction_type epsilon needs signal at every timestep, " +
        `got none at ${timestep} (rescale_betas_zero_snr ${rescale_betas_zero_snr}); use v_prediction or timestep_spacing leading`,
    );
  }
  return { fromSample: 1 / Math.sqrt(a), fromPrediction: -Math.sqrt((1 - a) / a) };
}

/** DDIM with eta 0: Song et al. 2021, arXiv:2010.02502, formula 12. */
function ddim(a: number, p: number) {
  const keep = Math.sqrt((1 - p) / (1 - a));
  return { keep, step: Math.sqrt(p) - Math.sqrt(a) * keep, oldStep: 0, noiseStep: 0 };
}

/** SDE-DPM-Solver++ (2M): Lu et al. 2022, arXiv:2211.01095; first order where there is no step before (`back` null). */
function dpm(a: number, p: number, back: number | null) {
  const keep = ((1 - p) / (1 - a)) * Math.sqrt(a / p);
  const gain = (p - a) / ((1 - a) * Math.sqrt(p));
  const noiseStep = Math.sqrt((1 - p) * ((p - a) / ((1 - a) * p)));
  // 1 / 2r with r = (λ − λ_back) / (λ_next − λ); no signal at `back` means r = ∞.
  const lean = back === null || back === 0 ? 0 : (logSnr(p) - logSnr(a)) / (2 * (logSnr(a) - logSnr(back)));
  return { keep, step: gain * (1 + lean), oldStep: gain * -lean, noiseStep };
}
const logSnr = (a: number): number => 0.5 * Math.log(a / (1 - a));

/** The kernel's coefficient tensor for one step. `guidance` 1 gives the conditional prediction alone. */
export function coefficientVector(step: StepCoefficients, guidance = 1): Float32Array {
  const { fromSample, fromPrediction, keep, step: gain, oldStep, noiseStep } = step;
  return Float32Array.of(guidance, fromSample, fromPrediction, keep, gain, oldStep, noiseStep, 0);
}

/**
 * Guidance that swings with the step, as `use_dynamic_cfg` has it in diffusers' pipelines and in the authors' own code:
 * `timestep` is the raw one, 0 to 999, so for n = 50 the power runs over thousands of turns. It is the published rule.
 * @param guidance the scale that was asked for
 * @param steps number of steps
 */
export function dynamicGuidance(guidance: number, steps: number, timestep: number): number {
  return 1 + (guidance * (1 - Math.cos(Math.PI * ((steps - timestep) / steps) ** 5))) / 2;
}
