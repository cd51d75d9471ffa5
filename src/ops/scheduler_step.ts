/** scheduler_step: classifier-free guidance and one step of a sampler, in one pass over the latents. Kernels: kernels/scheduler/. */
import { schedulerStep as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf } from "../graph/dtype.ts";
import type { Op, View } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowWindows } from "../plan/dispatch.ts";

interface Inputs {
  sample: Tensor;
  prediction: Tensor;
  coefficients: Tensor;
  old: Tensor | undefined;
  noise: Tensor | undefined;
}

/** Values in the coefficient tensor: see `coefficientVector` in src/diffusion/scheduler.ts. */
export const STEP_COEFFICIENTS = 8;

export interface SchedulerStepArguments {
  /** [B, …] f32: the latents before the step. */
  sample: Tensor;
  /** What the model said: [B, …], or with guidance [2B, …], unconditional first. */
  prediction: Tensor;
  /** [8] f32 input, written anew for every step by `coefficientVector`. */
  coefficients: Tensor;
  /** [B, …] f32: `original` of the step before; DPM only. */
  oldSample?: Tensor;
  /** [B, …] f32: a fresh draw; DPM only. */
  noise?: Tensor;
}

/** → `sample`, the latents after the step, and `original`, the clean latents as they look from here; both [B, …] f32. */
export function schedulerStep({ sample, prediction, coefficients, oldSample: old, noise }: SchedulerStepArguments): {
  sample: Tensor;
  original: Tensor;
} {
  const out = sample.graph.record(schedulerStepOp, { sample, prediction, coefficients, old, noise }, {});
  return { sample: out.next, original: out.original };
}

export const schedulerStepOp: Op<Inputs, object, "next" | "original"> = {
  name: "scheduler_step",
  infer({ sample, prediction, coefficients, old, noise }) {
    if (sample.dtype !== "f32")
      throw new CogwheelError("scheduler_step", `the latents must be f32, got ${sample}; keep them in f32 between steps`);
    if (prediction.size !== sample.size && prediction.size !== 2 * sample.size) {
      throw new CogwheelError(
        "scheduler_step",
        `the prediction must hold the latents' ${sample.size} values, or twice as many for guidance, got ${prediction}; check the batch`,
      );
    }
    if (prediction.dtype !== "f32" && prediction.dtype !== "f16")
      throw new CogwheelError("scheduler_step", `the prediction must be f32 or f16, got ${prediction}; convert it`);
    if (coefficients.dtype !== "f32" || coefficients.size !== STEP_COEFFICIENTS)
      throw new CogwheelError(
        "scheduler_step",
        `coefficients must be f32 [${STEP_COEFFICIENTS}], got ${coefficients}; make them with coefficientVector`,
      );
    for (const t of [old, noise]) {
      if (t && (t.size !== sample.size || t.dtype !== "f32"))
        throw new CogwheelError(
          "scheduler_step",
          `old sample and noise must be f32 [${sample.shape.join(", ")}], got ${t}; check their shapes`,
        );
    }
    return { next: { shape: sample.shape, dtype: "f32" }, original: { shape: sample.shape, dtype: "f32" } };
  },
  cost({ inputs: { sample, prediction, old, noise } }) {
    return { flops: 9 * sample.size, bytes: 3 * sample.bytes + prediction.bytes + (old?.bytes ?? 0) + (noise?.bytes ?? 0) };
  },
  lower({ inputs: { sample, prediction, coefficients, old, noise }, outputs: { next, original } }, { caps }) {
    const guidance = prediction.size === 2 * sample.size;
    const element = bytesOf[prediction.dtype];
    const half = guidance ? sample.size : 0;
    // The second half is bound by itself where a binding may start there, else by counting from the first.
    const split = (half * element) % caps.offsetAlignment === 0;
    const windows = split ? rowWindows(caps, sample.size, [4, element]) : [{ start: 0, count: sample.size }];
    return windows.map(({ start, count }) => {
      const part = (tensor: Tensor, first: number, size: number): View => ({ tensor, offset: (first + start) * size, bytes: count * size });
      const of = (tensor: Tensor): View => part(tensor, 0, 4);
      return dispatch({
        kernel,
        types: { P: prediction.dtype },
        consts: { GUIDANCE: +guidance, OLD: +!!old, NOISE: +!!noise },
        params: { count, cond_offset: split ? 0 : half },
        bindings: {
          sample: of(sample),
          uncond: split ? part(prediction, 0, element) : prediction,
          cond: split ? part(prediction, half, element) : prediction,
          old: of(old ?? sample),
          noise: of(noise ?? sample),
          coefficients,
          next: of(next),
          original: of(original),
        },
        grid: foldGrid(Math.ceil(count / 64), caps),
      });
    });
  },
};
