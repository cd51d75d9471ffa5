/** Whole pipelines without their text encoder: given embeddings and noise, to latents and frames. */
import { brief } from "../../../base/brief.ts";
import { CogwheelError } from "../../../base/errors.ts";
import { elements } from "../../../graph/dtype.ts";
import { parseTransformerConfig } from "../../../models/cogvideox/config.ts";
import { parseVaeConfig } from "../../../models/vae/config.ts";
import { CausalVae } from "../../../models/vae/model.ts";
import { firstStep, imageCondition, imageScale } from "../../../pipelines/cogvideox/conditioning.ts";
import { fromVae, toVae } from "../../../pipelines/latent-layout.ts";
import { Denoiser, type DenoiseOptions, type DenoiseState } from "../../../models/cogvideox/model.ts";
import { createScheduler, dynamicGuidance, type StepCoefficients } from "../../../diffusion/scheduler.ts";
import { caseLoras, inputOf } from "../case.ts";
import type { ReferenceModule } from "../module.ts";
import type { HostTensor, ReferenceCase } from "../reference-case.ts";
import { loraScales } from "./transformer.ts";

/** As many as diffusers' schedulers were trained with; what a small file may ask for takes no longer than that. */
const MOST_STEPS = 1000;

type Kind = "text" | "image" | "video" | "control";

function pipeline(kind: Kind): ReferenceModule {
  return async (c, context) => {
    const part = (name: string) => {
      const value = c.config[name];
      if (typeof value !== "object" || value === null)
        throw new CogwheelError(
          "reference",
          `${c.name}: config.${name} must be an object, got ${JSON.stringify(value)}; regenerate the case`,
        );
      return value as Record<string, unknown>;
    };
    const transformer = parseTransformerConfig(part("transformer"), `${c.name}: transformer`);
    const vaeConfig = parseVaeConfig(part("vae"), `${c.name}: vae`);
    const scheduler = createScheduler(part("scheduler"), String(part("scheduler")["_class_name"]));
    const option = <T>(name: string, fallback: T): T => {
      const value = c.options[name] ?? fallback;
      if (typeof value !== typeof fallback)
        throw new CogwheelError("reference", `${c.name}: options.${name} must be a ${typeof fallback}, got ${brief(value)}; correct it`);
      return value as T;
    };
    const stepsAsked = option("num_inference_steps", 50);
    if (stepsAsked > MOST_STEPS)
      throw new CogwheelError(
        "reference",
        `${c.name}: options.num_inference_steps must be at most ${MOST_STEPS}, got ${stepsAsked}; make a shorter case`,
      );
    const guidance = option("guidance_scale", 6);

    const latents = inputOf(c, "latents", 5);
    const [samples, frames, channels, height, width] = latents.shape as [number, number, number, number, number];
    const positive = inputOf(c, "prompt_embeds", 3);
    const guided = guidance > 1;
    const text = guided ? concat(inputOf(c, "negative_prompt_embeds", 3).data, positive.data) : positive.data;
    using vae = CausalVae.create(context.gpu, vaeConfig, context.weights("vae."), { dtype: context.dtype });
    const run = { checkFinite: context.checkFinite };

    let start = latents.data;
    let first = 0;
    let condition: Float32Array | undefined;
    if (kind === "image") {
      condition = await imageConditions(vae, inputOf(c, "image", 5), inputOf(c, "posterior_noise").data, frames, run);
    } else if (kind === "control") {
      const posterior = await encode(vae, inputOf(c, "control_video", 5), run);
      condition = fromVae(posterior.mode(), posterior.shape, vaeConfig.scaling_factor);
    } else if (kind === "video") {
      first = firstStep(stepsAsked, option("strength", 0.8));
      const posterior = await encode(vae, inputOf(c, "video", 5), run);
      const video = fromVae(posterior.sample(inputOf(c, "posterior_noise").data), posterior.shape, vaeConfig.scaling_factor);
      const { original, noise } = scheduler.addNoise(scheduler.timesteps(stepsAsked)[first]!);
      start = latents.data.map((n, i) => video[i]! * original + n * noise);
    }

    const steps = scheduler.steps(stepsAsked, first);
    const noise = c.inputs.get("noise");
    const weights = context.weights("transformer.");
    const provider = await caseLoras(c, weights, loraScales(c));
    using denoiser = await Denoiser.create(
      context.gpu,
      transformer,
      provider,
      {
        samples,
        frames,
        height,
        width,
        textLength: positive.shape[1]!,
        guidance: guided,
        stochastic: scheduler.kind === "dpm",
        ...(condition ? { conditionChannels: transformer.in_channels - channels } : {}),
      },
      { dtype: context.dtype },
    );
    const size = elements(latents.shape);
    const denoising = {
      ...run,
      text,
      guidanceScale: option("use_dynamic_cfg", false)
        ? (i: number) => dynamicGuidance(guidance, steps.length, steps[i]!.timestep)
        : guidance,
      ...(condition ? { condition } : {}),
      ...(noise ? { noise: (i: number) => noise.data.subarray(i * size, (i + 1) * size) } : {}),
    };
    const denoised = await denoiser.run({ ...denoising, start, steps });
    const forced = await eachStep(c, latents.shape, steps, start, (from, until) => denoiser.run({ ...denoising, ...until, start: from }));

    // 1.5 pads latent frames in front until its patches divide them; the padding is not decoded.
    const asked = Math.floor((option("num_frames", 1) - 1) / vaeConfig.temporal_compression_ratio) + 1;
    const skip = (kind === "text" || kind === "image") && transformer.patch_size_t !== null ? frames - asked : 0;
    const z = toVae(denoised, { samples, frames, channels, height, width, skip }, 1 / vaeConfig.scaling_factor);
    const decoded = await vae.decode(z, { batch: samples, frames: frames - skip, height, width }, run);
    return { latents: { shape: latents.shape, data: denoised }, frames: toFrames(decoded), ...forced };
  };
}

/**
 * Teacher-forced: each step by itself, begun from the state that the reference was in before it (the first from the run's own start), so
 * that a step shows its own error and not what went before. Nothing for a case that has no steps.
 */
async function eachStep(
  c: ReferenceCase,
  shape: readonly number[],
  steps: readonly StepCoefficients[],
  start: Float32Array,
  run: (from: DenoiseState, until: Pick<DenoiseOptions, "steps" | "onStep">) => Promise<Float32Array>,
): Promise<Record<string, HostTensor>> {
  const { latents, original, ...unknown } = Object.fromEntries(c.steps);
  const whole = [steps.length, ...shape];
  const wrong =
    Object.keys(unknown)[0] ??
    (["latents", "original"] as const).find((name) => c.steps.has(name) && c.steps.get(name)!.shape.join() !== whole.join());
  if (wrong)
    throw new CogwheelError(
      "reference",
      `${c.name}: steps are step.latents and step.original [${whole.join(", ")}], ` +
        `got step.${wrong} [${c.steps.get(wrong)!.shape.join(", ")}]; correct it`,
    );
  if (!latents) return {};
  const size = elements(shape);
  const after = (tensor: HostTensor, step: number) => tensor.data.subarray((step - 1) * size, step * size);
  const got = { latents: new Float32Array(latents.data.length), original: new Float32Array(latents.data.length) };
  for (let i = 0; i < steps.length; i++) {
    const from: DenoiseState =
      i === 0
        ? { step: 0, latents: start }
        : { step: i, latents: after(latents, i), ...(original ? { original: after(original, i) } : {}) };
    await run(from, {
      steps: steps.slice(0, i + 1),
      onStep: (state) => {
        got.latents.set(state.latents, i * size);
        if (state.original) got.original.set(state.original, i * size);
      },
    });
  }
  return {
    "step.latents": { shape: whole, data: got.latents },
    ...(original ? { "step.original": { shape: whole, data: got.original } } : {}),
  };
}

/** Images [n, 1, 3, H, W] and their draws, one after another, → [n, F, C, h, w]. */
async function imageConditions(
  vae: CausalVae,
  { shape, data }: HostTensor,
  noise: Float32Array,
  frames: number,
  run: { checkFinite: boolean },
): Promise<Float32Array> {
  const n = shape[0]!;
  const parts: Float32Array[] = [];
  for (let i = 0; i < n; i++) {
    const image = { shape: [1, ...shape.slice(1)], data: data.subarray((i * data.length) / n, ((i + 1) * data.length) / n) };
    parts.push(
      imageCondition(
        await encode(vae, image, run),
        [noise.subarray((i * noise.length) / n, ((i + 1) * noise.length) / n)],
        imageScale(vae.config),
        frames,
      ),
    );
  }
  return parts.reduce(concat);
}

/** [B, T, 3, H, W] in −1…1 → the posterior over its latents. */
function encode(vae: CausalVae, { shape, data }: HostTensor, run: { checkFinite: boolean }) {
  const [batch, frames, channels, height, width] = shape as [number, number, number, number, number];
  return vae.encode(swapFrames(data, batch, frames, channels, height * width), { batch, frames, height, width }, run);
}

/** [B, a, b, plane] → [B, b, a, plane] */
function swapFrames(data: Float32Array, batch: number, a: number, b: number, plane: number): Float32Array {
  const out = new Float32Array(data.length);
  for (let n = 0; n < batch; n++)
    for (let i = 0; i < a; i++)
      for (let j = 0; j < b; j++) {
        out.set(data.subarray(((n * a + i) * b + j) * plane, ((n * a + i) * b + j + 1) * plane), ((n * b + j) * a + i) * plane);
      }
  return out;
}

/** [B, 3, T, H, W] in −1…1 → [B, T, 3, H, W] in 0…1 */
function toFrames({ data, shape }: { data: Float32Array; shape: readonly number[] }): HostTensor {
  const [b, c, t, h, w] = shape as [number, number, number, number, number];
  return { shape: [b, t, c, h, w], data: swapFrames(data, b, c, t, h * w).map((v) => Math.min(1, Math.max(0, v / 2 + 0.5))) };
}

function concat(a: Float32Array, b: Float32Array): Float32Array {
  const out = new Float32Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}

export const pipelineModules: Record<string, ReferenceModule> = {
  CogVideoXPipeline: pipeline("text"),
  CogVideoXImageToVideoPipeline: pipeline("image"),
  CogVideoXVideoToVideoPipeline: pipeline("video"),
  CogVideoXFunControlPipeline: pipeline("control"),
};
