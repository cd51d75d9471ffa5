/**
 * How much signal is left at every training timestep (the cumulative product of alphas), and which timesteps a number
 * of steps visits, or a list says outright. Both are the reference's to the last bit where that decides something: betas that it keeps in
 * float32 are rounded to float32 after every operation here too, and NumPy's own arange, linspace and rounding (half
 * to even) give the timesteps. From diffusers 0.42, scheduling_ddim_cogvideox.py and scheduling_dpm_cogvideox.py.
 */
import { CogwheelError } from "../base/errors.ts";
import type { SchedulerConfig } from "./config.ts";
import { torchLinspace } from "./torch-linspace.ts";

/** [num_train_timesteps], falling. */
export function alphasCumprod(config: SchedulerConfig): Float64Array {
  const { num_train_timesteps: n, beta_start, beta_end, beta_schedule, trained_betas, snr_shift_scale: shift } = config;
  const wide = !trained_betas && beta_schedule === "scaled_linear";
  const r: (v: number) => number = wide ? (v) => v : Math.fround;
  const betas = trained_betas
    ? Float64Array.from(trained_betas, r)
    : beta_schedule === "linear"
      ? torchLinspace(beta_start, beta_end, n, r)
      : beta_schedule === "scaled_linear"
        ? torchLinspace(beta_start ** 0.5, beta_end ** 0.5, n, r).map((v) => v * v)
        : cosineBetas(n, r);

  let product = 1; // torch accumulates in float64 and stores in the tensor's type
  let alphas = betas.map((beta) => r((product *= r(1 - beta))));
  alphas = alphas.map((a) => r(a / r(r(shift) + r(r(1 - shift) * a))));
  if (!config.rescale_betas_zero_snr) return alphas;
  const roots = alphas.map((a) => r(Math.sqrt(a)));
  const first = roots[0]!;
  const last = roots[n - 1]!;
  const scale = r(first / r(first - last));
  // A single timestep has nothing to rescale.
  return n === 1
    ? alphas
    : roots.map((s) => {
        const v = r(r(s - last) * scale);
        return r(v * v);
      });
}

function cosineBetas(n: number, r: (v: number) => number): Float64Array {
  const alphaBar = (t: number): number => Math.cos((((t + 0.008) / 1.008) * Math.PI) / 2) ** 2;
  return Float64Array.from({ length: n }, (_, i) => r(Math.min(1 - alphaBar((i + 1) / n) / alphaBar(i / n), 0.999)));
}

/** The timesteps of `steps` steps, falling. */
export function inferenceTimesteps(config: SchedulerConfig, steps: number): Int32Array {
  const { num_train_timesteps: total, timestep_spacing, steps_offset } = config;
  if (!Number.isInteger(steps) || steps < 1 || steps > total) {
    throw new CogwheelError(
      "scheduler",
      `the number of steps must be a whole number from 1 to ${total}, got ${steps}; choose one in between`,
    );
  }
  let timesteps: number[];
  if (timestep_spacing === "linspace") {
    const step = (total - 1) / (steps - 1);
    timesteps = Array.from({ length: steps }, (_, i) => roundHalfEven(i === 0 ? 0 : i === steps - 1 ? total - 1 : i * step)).reverse();
  } else if (timestep_spacing === "leading") {
    const ratio = Math.floor(total / steps);
    timesteps = Array.from({ length: steps }, (_, i) => i * ratio + steps_offset).reverse();
  } else {
    // np.arange(total, 0, -ratio): its length and its common difference are rounded as NumPy rounds them.
    const ratio = total / steps;
    const difference = total - ratio - total;
    // For some numbers of steps (61 is the smallest) rounding makes it one longer than asked, and the reference then
    // takes a last step at timestep −1, which it reads as the noisiest one: that spoils the picture and is left out.
    timesteps = Array.from({ length: steps }, (_, i) => roundHalfEven(total + i * difference) - 1);
  }
  if (timesteps[0]! >= total) {
    throw new CogwheelError(
      "scheduler",
      `timesteps must be below num_train_timesteps = ${total}, ` +
        `got ${timesteps[0]} from steps_offset ${steps_offset}; lower steps_offset or the number of steps`,
    );
  }
  return Int32Array.from(timesteps);
}

/**
 * Timesteps that somebody chose, as what was distilled to a few steps wants them. diffusers' two classes take none; what other schedulers
 * make of a list is meant: each step goes to the next timestep of it, and the last one to a clean sample.
 */
export function chosenTimesteps({ num_train_timesteps: total }: SchedulerConfig, chosen: readonly number[]): Int32Array {
  const wrong = chosen.findIndex((t, i) => !Number.isInteger(t) || t < 0 || t >= (i === 0 ? total : chosen[i - 1]!));
  if (wrong >= 0 || chosen.length === 0)
    throw new CogwheelError(
      "scheduler",
      `timesteps must be whole numbers that fall from at most ${total - 1} to at least 0, ` +
        `got ${chosen.length ? `${chosen[wrong]} as number ${wrong + 1}` : "none"}; correct the list`,
    );
  return Int32Array.from(chosen);
}

function roundHalfEven(v: number): number {
  const floor = Math.floor(v);
  const rest = v - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}
