/** The schedulers of the reference format: given model outputs, every step on the GPU. */
import { CogwheelError } from "../../../base/errors.ts";
import { compile } from "../../../plan/compile.ts";
import { Graph } from "../../../graph/graph.ts";
import { Program } from "../../../run/program.ts";
import { WeightStore } from "../../../run/weight-store.ts";
import { schedulerStep, STEP_COEFFICIENTS } from "../../../ops/scheduler_step.ts";
import { coefficientVector, createScheduler } from "../../../diffusion/scheduler.ts";
import { hostTensor, inputOf } from "../case.ts";
import type { ReferenceModule } from "../module.ts";

const scheduler: ReferenceModule = async (c, { gpu, checkFinite, weights }) => {
  const sampler = createScheduler(c.config, c.module);
  const first = inputOf(c, "sample");
  const predictions = inputOf(c, "model_output");
  const noise = sampler.kind === "dpm" ? inputOf(c, "noise") : undefined;
  const steps = sampler.steps((c.options["timesteps"] ?? c.options["num_inference_steps"]) as number | number[]); // checked there
  const { shape } = first;
  const size = first.data.length;
  for (const [name, tensor] of Object.entries({ model_output: predictions, ...(noise && { noise }) })) {
    if (tensor.shape.join() !== [steps.length, ...shape].join())
      throw new CogwheelError(
        "reference",
        `${c.name}: input.${name} must be [${steps.length}, ${shape.join(", ")}], got [${tensor.shape.join(", ")}]; give one a step`,
      );
  }

  const graph = new Graph("scheduler");
  const dpm = sampler.kind === "dpm";
  const sample = graph.state("sample", shape);
  const old = dpm ? graph.state("old", shape) : undefined;
  const out = schedulerStep({
    sample,
    prediction: graph.input("prediction", shape),
    coefficients: graph.input("coefficients", [STEP_COEFFICIENTS]),
    ...(old && { oldSample: old, noise: graph.input("noise", shape) }),
  });
  graph.update(sample, out.sample);
  if (old) graph.update(old, out.original);

  using store = new WeightStore(gpu, weights());
  using program = await Program.create(gpu, compile(graph, gpu.caps), store);
  program.write("sample", first.data);
  const samples = new Float32Array(steps.length * size);
  for (const [i, step] of steps.entries()) {
    const slice = (data: Float32Array): Float32Array => data.subarray(i * size, (i + 1) * size);
    await program.run({
      checkFinite,
      inputs: { prediction: slice(predictions.data), coefficients: coefficientVector(step), ...(noise && { noise: slice(noise.data) }) },
    });
    samples.set(await program.read("sample"), i * size);
  }
  return {
    timesteps: hostTensor(
      Float32Array.from(steps, (s) => s.timestep),
      [steps.length],
    ),
    sample: hostTensor(samples, [steps.length, ...shape]),
  };
};

export const schedulerModules: Record<string, ReferenceModule> = { CogVideoXDDIMScheduler: scheduler, CogVideoXDPMScheduler: scheduler };
