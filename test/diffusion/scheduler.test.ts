import { describe, expect, test } from "vitest";
import { alphasCumprod, inferenceTimesteps } from "../../src/diffusion/noise-schedule.ts";
import { parseSchedulerConfig } from "../../src/diffusion/config.ts";
import { coefficientVector, createScheduler, dynamicGuidance } from "../../src/diffusion/scheduler.ts";

const COGVIDEOX = {
  beta_schedule: "scaled_linear",
  beta_start: 0.00085,
  beta_end: 0.012,
  prediction_type: "v_prediction",
  rescale_betas_zero_snr: true,
  snr_shift_scale: 1,
  timestep_spacing: "trailing",
  clip_sample: false,
  _diffusers_version: "0.30.0",
};
const timesteps = (spacing: string, n: number, more: object = {}): number[] => [
  ...inferenceTimesteps(parseSchedulerConfig({ timestep_spacing: spacing, ...more }), n),
];

describe("timesteps as NumPy makes them", () => {
  // From diffusers 0.42.1 with NumPy 2: halves round to even, differences accumulate from a rounded first one.
  test.each([
    ["trailing", 1, [999]],
    ["trailing", 6, [999, 832, 666, 499, 332, 166]],
    ["trailing", 7, [999, 856, 713, 570, 428, 285, 142]],
    ["trailing", 16, [999, 937, 874, 811, 749, 687, 624, 561, 499, 437, 374, 311, 249, 187, 124, 61]],
    ["leading", 7, [852, 710, 568, 426, 284, 142, 0]],
    ["linspace", 1, [0]],
    ["linspace", 6, [999, 799, 599, 400, 200, 0]],
  ] as const)("%s, %i steps", (spacing, n, want) => expect(timesteps(spacing, n)).toEqual(want));

  test("no number of steps leaves the training range or repeats itself", () => {
    for (const spacing of ["trailing", "leading", "linspace"])
      for (let n = 1; n <= 1000; n++) {
        const t = timesteps(spacing, n);
        expect(t.length).toBe(n);
        expect(
          t.every((v, i) => v >= 0 && v < 1000 && (i === 0 || v < t[i - 1]!)),
          `${spacing} ${n}: ${t}`,
        ).toBe(true);
      }
  });

  test("steps_offset shifts leading alone, and not out of range", () => {
    expect(timesteps("leading", 2, { steps_offset: 1 })).toEqual([501, 1]);
    expect(timesteps("trailing", 2, { steps_offset: 1 })).toEqual([999, 499]);
    expect(() => timesteps("leading", 1000, { steps_offset: 1 })).toThrow(
      /\[scheduler\] timesteps must be below num_train_timesteps = 1000, got 1000 from steps_offset 1/,
    );
  });

  test.each([0, 1001, 2.5, NaN])("%s steps are refused", (n) =>
    expect(() => timesteps("trailing", n)).toThrow(/the number of steps must be a whole number from 1 to 1000/),
  );
});

describe("cumulative alphas", () => {
  // From diffusers 0.42.1; the float32 schedules are equal to its last bit.
  test.each([
    [{ beta_schedule: "scaled_linear" }, 0.9974543276430068, 0.001558207103429585, 14],
    [{ beta_schedule: "linear" }, 0.9974542856216431, 0.00052687554853037, 16],
    [{ beta_schedule: "squaredcos_cap_v2", snr_shift_scale: 1 }, 0.9999586939811707, 2.4287349909002387e-9, 16],
  ])("%j", (config, first, last, digits) => {
    const a = alphasCumprod(parseSchedulerConfig(config));
    expect(a[0]).toBeCloseTo(first, digits - 1);
    expect(a[999]! / last).toBeCloseTo(1, digits - 1);
  });

  test("rescaled to zero terminal SNR, the first value stays and the last is exactly 0", () => {
    const plain = alphasCumprod(parseSchedulerConfig({ ...COGVIDEOX, rescale_betas_zero_snr: false }));
    const a = alphasCumprod(parseSchedulerConfig(COGVIDEOX));
    expect(a[0]).toBeCloseTo(plain[0]!, 14);
    expect(a[999]).toBe(0);
  });
});

describe("coefficients", () => {
  const everyNumber = (kind: string, config: object, n: number): number[] =>
    createScheduler(config, kind)
      .steps(n)
      .flatMap((s) => [...coefficientVector(s)]);

  test.each(["ddim", "dpm"])("%s: finite for every number of steps, though the SNR is not", (kind) => {
    for (const n of [1, 2, 3, 6, 7, 49, 50, 51, 61, 333, 999, 1000])
      for (const snr_shift_scale of [1, 3]) {
        expect(everyNumber(kind, { ...COGVIDEOX, snr_shift_scale }, n).every(Number.isFinite), `${n} steps`).toBe(true);
      }
  });

  test("DPM forgets the start noise in its first step, leans on nothing in its second, and ends on the clean sample", () => {
    const steps = createScheduler(COGVIDEOX, "CogVideoXDPMScheduler").steps(5);
    expect(steps[0]).toMatchObject({ timestep: 999, fromSample: 0, fromPrediction: -1, keep: 0, oldStep: -0, draws: 1 });
    expect(steps[1]!.oldStep).toBeCloseTo(0, 15);
    expect(steps[2]!.oldStep).toBeLessThan(-1e-3);
    expect(steps[4]).toMatchObject({ keep: 0, step: 1, noiseStep: 0, draws: 1 });
    expect(steps.map((s) => s.draws)).toEqual([1, 2, 2, 2, 1]);
  });

  test("a run that starts later has no step before its first", () => {
    const scheduler = createScheduler(COGVIDEOX, "dpm");
    const [whole, late] = [scheduler.steps(10), scheduler.steps(10, 4)];
    expect(late.map((s) => s.timestep)).toEqual(whole.slice(4).map((s) => s.timestep));
    expect(late[0]).toMatchObject({ oldStep: -0, draws: 1 });
    expect(late.slice(1)).toEqual(whole.slice(5));
    expect(() => scheduler.steps(10, 10)).toThrow(/\[scheduler\] the first step must lie within 0 to 9, got 10/);
  });

  test.each(["ddim", "dpm"])("%s: a list that is spaced as a number of steps is, bit for bit that number", (kind) => {
    const scheduler = createScheduler(COGVIDEOX, kind);
    for (const n of [1, 2, 4, 5, 50]) expect(scheduler.steps([...scheduler.timesteps(n)])).toEqual(scheduler.steps(n));
    expect(scheduler.steps([...scheduler.timesteps(10)], 4)).toEqual(scheduler.steps(10, 4));
  });

  test("each step of a list goes to its next timestep, and the last to a clean sample", () => {
    const scheduler = createScheduler(COGVIDEOX, "ddim");
    const alphas = alphasCumprod(scheduler.config);
    const list = [999, 856, 665, 399];
    for (const [i, { timestep, keep }] of scheduler.steps(list).entries()) {
      expect(timestep).toBe(list[i]);
      const p = i === 3 ? 1 : alphas[list[i + 1]!]!;
      expect(keep).toBeCloseTo(Math.sqrt((1 - p) / (1 - alphas[timestep]!)), 14);
    }
    for (const wrong of [[], [1000], [5, 5], [5, 6], [-1], [0.5], ["7"], [NaN]])
      expect(() => scheduler.steps(wrong as number[]), JSON.stringify(wrong)).toThrow(
        /\[scheduler\] timesteps must be whole numbers that fall/,
      );
  });

  test("a perfect prediction of a constant sample is kept by DDIM whatever the step, and x0 by every prediction type", () => {
    const clean = 0.7,
      noise = -1.3;
    for (const prediction_type of ["v_prediction", "epsilon", "sample"]) {
      const scheduler = createScheduler({ ...COGVIDEOX, prediction_type, timestep_spacing: "leading" }, "ddim");
      for (const s of scheduler.steps(9)) {
        const a = alphasCumprod(scheduler.config)[s.timestep]!;
        const x = Math.sqrt(a) * clean + Math.sqrt(1 - a) * noise;
        const said = { v_prediction: Math.sqrt(a) * noise - Math.sqrt(1 - a) * clean, epsilon: noise, sample: clean }[prediction_type]!;
        expect(s.fromSample * x + s.fromPrediction * said).toBeCloseTo(clean, 10);
        const before = s.timestep - 111;
        const p = before >= 0 ? alphasCumprod(scheduler.config)[before]! : 1;
        expect(s.keep * x + s.step * clean).toBeCloseTo(Math.sqrt(p) * clean + Math.sqrt(1 - p) * noise, 10);
      }
    }
  });

  test("epsilon at a timestep without signal is refused", () => {
    expect(() => createScheduler({ ...COGVIDEOX, prediction_type: "epsilon" }, "ddim").steps(4)).toThrow(
      /\[scheduler\] prediction_type epsilon needs signal at every timestep, got none at 999/,
    );
  });

  test("noise is added as torch adds it", () => {
    const { original, noise } = createScheduler(COGVIDEOX, "ddim").addNoise(999);
    expect([original, noise]).toEqual([0, 1]);
    const half = createScheduler(COGVIDEOX, "ddim").addNoise(500);
    expect(half.original ** 2 + half.noise ** 2).toBeCloseTo(1, 12);
    expect(() => createScheduler(COGVIDEOX, "ddim").addNoise(1000)).toThrow(/a timestep must lie within 0 to 999, got 1000/);
  });
});

test("dynamic guidance follows the published formula with the raw timestep", () => {
  // Python: 1 + 6 * (1 - math.cos(math.pi * ((50 - t) / 50) ** 5.0)) / 2
  const want: [number, number][] = [
    [999, 2.291487174551452],
    [819, 6.983127186834665],
    [499, 1.5212656935026643],
    [79, 1.0635523468092134],
    [59, 1.0000005285864701],
    [39, 1.000003932038104],
    [19, 1.123397939968981],
  ];
  for (const [t, g] of want) expect(dynamicGuidance(6, 50, t)).toBeCloseTo(g, 6);
});

describe("configs", () => {
  test("both class names, and a choice of one's own", () => {
    expect(createScheduler(COGVIDEOX, "CogVideoXDDIMScheduler").kind).toBe("ddim");
    expect(createScheduler(COGVIDEOX, "dpm").kind).toBe("dpm");
    expect(() => createScheduler(COGVIDEOX, "EulerDiscreteScheduler")).toThrow(
      /the scheduler must be CogVideoXDDIMScheduler or CogVideoXDPMScheduler, got "EulerDiscreteScheduler"; choose ddim or dpm/,
    );
    expect(() => createScheduler(COGVIDEOX, "constructor")).toThrow(/choose ddim or dpm/);
  });

  test("everything wrong is told at once", () => {
    expect(() =>
      parseSchedulerConfig({ beta_schedule: "sigmoid", snr_shift_scale: 0, num_train_timesteps: "many", timestep_spacing: null }),
    ).toThrow(
      /num_train_timesteps must be a whole number from 1 to 1000000, got "many"; beta_schedule must be one of linear, scaled_linear, squaredcos_cap_v2, got "sigmoid"; timestep_spacing must be one of leading, linspace, trailing, got null; snr_shift_scale must be a number above 0, got 0/,
    );
    expect(() => parseSchedulerConfig([])).toThrow(/the config must be a JSON object, got \[\]/);
  });
});
