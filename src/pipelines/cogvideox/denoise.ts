/** The steps: the transformer, loaded with its adapters, and what is told after each. */
import { Denoiser, type DenoiseState } from "../../models/cogvideox/model.ts";
import { LoraWeights, withLoras } from "../../models/lora/merge.ts";
import type { GenerationStep } from "../generation.ts";
import { GenerationInterrupted } from "../interrupted.ts";
import type { Held } from "../kept-parts.ts";
import type { LatentColors } from "../preview.ts";
import { defined } from "../options.ts";
import { dynamicGuidanceAt } from "../profiles.ts";
import { components } from "./components.ts";
import { padding } from "./decode.ts";
import { loading, running, type Run } from "./running.ts";
import { plansOf, residenceKey } from "./stages.ts";
import { latentColors } from "./vae.ts";

/** From a state to the latents after the last step. What a failure leaves is thrown with it. */
export async function denoise(
  run: Run,
  text: Float32Array,
  start: DenoiseState,
  emit: (step: GenerationStep) => void,
): Promise<Float32Array> {
  const { options, clock, request } = run;
  const { steps } = request.plan;
  const previews = options.preview ? { colors: await latentColors(run), ...(await previewing()) } : undefined;
  using held = await clock.time("load transformer", (report) => holdDenoiser(run, report));
  return await clock.time("denoise", async (report) => {
    let state = start;
    const tell = teller(run, start, previews, emit);
    try {
      return await takeSteps(run, held.part, text, start, {
        onStep: async (reached) => {
          report(reached.step / steps.length, `step ${reached.step} of ${steps.length}`);
          tell(state, reached);
          state = reached;
          await options.onStep?.(reached, steps.length);
        },
      });
    } catch (error) {
      throw state.step > start.step ? new GenerationInterrupted(state, steps.length, error, options.signal?.aborted) : error;
    }
  });
}

/** The steps from `start` until the last, or until `until` are done. */
export async function takeSteps(
  run: Run,
  denoiser: Denoiser,
  text: Float32Array,
  start: DenoiseState,
  { until, onStep }: { until?: number; onStep: (state: DenoiseState) => void | Promise<void> },
): Promise<Float32Array> {
  const { settings, plan } = run.request;
  const { steps, switches } = plan;
  const size = start.latents.length;
  return await denoiser.run({
    ...running(run),
    start,
    text,
    steps: until === undefined ? steps : steps.slice(0, until),
    noise: (step) => run.draws.step(step, steps, size),
    guidanceScale: run.options.dynamicGuidance
      ? (i) => dynamicGuidanceAt(switches, settings.guidance, steps.length, i, steps[i]!.timestep)
      : settings.guidance,
    onStep,
    ...defined({ partner: run.options.share?.partner }),
  });
}

export async function holdDenoiser(run: Run, report: (done: number) => void): Promise<Held<Denoiser>> {
  const { model, plan } = run.request;
  const { gpu, dtype, parts } = model;
  const { shape, loras } = plan;
  const { transformer } = model.configs;
  const shapes = components.transformer.weights(transformer);
  // Kept weights stay as they are, with adapters beside them; weights that go anyway are changed themselves.
  const live = parts.keep && loras ? new LoraWeights(loras, (name) => shapes.get(name)) : undefined;
  const held = await parts.hold("transformer", JSON.stringify(shape) + residenceKey(plan.stages, "transformer"), async () => {
    const weights = await model.files.weights("transformer", run.options);
    const provider = loras && !live ? withLoras(weights, loras) : weights;
    return await Denoiser.create(gpu, transformer, provider, shape, {
      dtype,
      ...defined({ loras: live, plan: plansOf(plan.stages, "transformer")[0] }),
      ...loading(run, report),
    });
  });
  if (parts.keep) await held.part.setLoras(live, loading(run, report));
  return held;
}

/** A chunk of its own. */
const previewing = () => import("../preview.ts");

/** Tells each step with its times and, where colours are there, its preview. */
function teller(
  { request }: Run,
  start: DenoiseState,
  previews: ({ readonly colors: LatentColors } & Awaited<ReturnType<typeof previewing>>) | undefined,
  emit: (step: GenerationStep) => void,
): (before: DenoiseState, reached: DenoiseState) => void {
  const { model, plan } = request;
  const { shape, steps } = plan;
  const began = performance.now();
  let last = began;
  const layout = { ...shape, channels: model.configs.vae.latent_channels, skip: padding(request) };
  return (before, reached) => {
    const now = performance.now();
    emit({
      step: reached.step,
      steps: steps.length,
      state: reached,
      seconds: (now - last) / 1000,
      secondsLeft: ((now - began) / 1000 / (reached.step - start.step)) * (steps.length - reached.step),
      preview: (sample = 0) => {
        if (!previews) return [];
        const clean = previews.cleanLatents(before.latents, reached, steps[reached.step - 1]!);
        const size = clean.length / shape.samples;
        return previews.previewFrames(clean.subarray(sample * size, (sample + 1) * size), layout, previews.colors);
      },
    });
    last = now;
  };
}
