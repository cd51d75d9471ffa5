/**
 * A run that diffusers recorded, run again by what users run: prepared, encoded, denoised and decoded by the same functions. Handed to them
 * ready-made are the text embeddings, the pixels that diffusers' pipelines feed to the VAE, and every draw.
 */
import { CogwheelError } from "../../base/errors.ts";
import { createScheduler } from "../../diffusion/scheduler.ts";
import { elements } from "../../graph/dtype.ts";
import { parseTransformerConfig } from "../../models/cogvideox/config.ts";
import type { Denoiser, DenoiseState } from "../../models/cogvideox/model.ts";
import { framesOf } from "../../models/vae/batches.ts";
import { parseVaeConfig } from "../../models/vae/config.ts";
import type { Recorded, RecordedRun, ReplayedRun, ReplayTarget } from "../family.ts";
import { KeptParts } from "../kept-parts.ts";
import { defaultSettings } from "../settings.ts";
import type { Task } from "../task.ts";
import { rulesOf } from "./configs.ts";
import { decodeEach } from "./decode.ts";
import { holdDenoiser, takeSteps } from "./denoise.ts";
import { runOf } from "./generate.ts";
import type { Model } from "./model.ts";
import { encodePrompt } from "./prompt.ts";
import { ownOptions, prepare, type GenerationRequest, type ReadyInputs } from "./request.ts";
import { concat, type Run } from "./running.ts";
import { startState } from "./start.ts";
import { Planner } from "./planner.ts";

/** diffusers' pipelines, by what they begin from. */
export const RECORDED: Readonly<Record<string, Task>> = {
  CogVideoXPipeline: "text",
  CogVideoXImageToVideoPipeline: "image",
  CogVideoXVideoToVideoPipeline: "video",
  CogVideoXFunControlPipeline: "control",
};

/** The input that a run of this task begins from, by diffusers' name. */
const FRAMES: Partial<Record<Task, string>> = { image: "image", video: "video", control: "control_video" };

export async function replay(recorded: RecordedRun, target: ReplayTarget): Promise<ReplayedRun> {
  const model = recordedModel(recorded, target);
  const request = await recordedRequest(recorded, model, target);
  const run = runOf(request);
  const text = await encodePrompt(run);
  const start = await startState(run);
  const { latents, steps } = await denoiseRecorded(run, text, start, recorded);
  const { shape } = recorded.input("latents");
  return { latents: { shape, data: latents }, steps, frames: await decodeToFloats(run, latents) };
}

function recordedModel({ name, className, config, weights }: RecordedRun, { gpu, dtype }: ReplayTarget): Model {
  const vae = parseVaeConfig(config("vae"), `${name}: vae`);
  const transformer = parseTransformerConfig(config("transformer"), `${name}: transformer`);
  const scheduler = config("scheduler");
  const rules = rulesOf({ vae, transformer }, className, createScheduler(scheduler, String(scheduler["_class_name"])).kind);
  const none = (what: string): never => {
    throw new CogwheelError("reference", `${name}: a recorded pipeline begins past the ${what}, got a call for one; record its embeddings`);
  };
  return {
    gpu,
    name: "reference case",
    dtype,
    configs: {
      vae,
      transformer,
      get text() {
        return none("text encoder");
      },
    },
    rules,
    defaults: defaultSettings(rules),
    files: {
      label: name,
      scheduler,
      version: async () => null,
      format: () => undefined,
      shape: (part, weight) => weights(part).shape(weight),
      expect: () => undefined, // what is missing is told where it is read, by the case's name for it
      weights: async (part) => weights(part),
      tokenizer: async () => none("tokenizer"),
    },
    parts: new KeptParts(false),
    memoryBytes: undefined,
  };
}

async function recordedRequest(recorded: RecordedRun, model: Model, { checkFinite }: ReplayTarget): Promise<GenerationRequest> {
  const { input, option } = recorded;
  const task = RECORDED[recorded.className]!;
  const latents = input("latents", 5);
  const [samples, , , height, width] = latents.shape as [number, number, number, number, number];
  const guidance = option("guidance_scale", 6);
  const positive = input("prompt_embeds", 3);
  const text = guidance > 1 ? concat([input("negative_prompt_embeds", 3).data, positive.data]) : positive.data;
  const options = ownOptions({
    prompt: recorded.name,
    width: width * model.rules.spatial,
    height: height * model.rules.spatial,
    frames: framesAsked(recorded, model, task),
    steps: option("num_inference_steps", 50),
    guidance,
    dynamicGuidance: option("use_dynamic_cfg", false),
    samples,
    start: latents.data,
    checkFinite,
    ...(task === "video" ? { strength: option("strength", 0.8) } : {}),
    ...(recorded.loras.length ? { loras: recorded.loras.map(({ scale, ...adapter }) => ({ adapter, scale })) } : {}),
  });
  const frames = FRAMES[task];
  const ready = {
    task,
    text: { data: text, length: positive.shape[1]! },
    ...(frames ? { frames: pixelsOf(input(frames, 5)) } : {}),
    draws: recordedDraws(recorded, samples),
  };
  return await prepare(model, new Planner(), options, { ready });
}

/**
 * Frames that come back of the latents. 1.5 pads latent frames in front of what begins from noise, so that there
 * they follow from the frames that were asked for.
 */
function framesAsked({ input, option }: RecordedRun, { configs: { vae }, rules }: Model, task: Task): number {
  const padded = rules.anySize && (task === "text" || task === "image");
  const latents = padded ? Math.floor((option("num_frames", 1) - 1) / rules.temporal) + 1 : input("latents").shape[1]!;
  return framesOf(latents, vae);
}

/** Videos [B, T, 3, H, W], one for each sample. */
function pixelsOf({ shape, data }: Recorded): NonNullable<ReadyInputs["frames"]> {
  const [batch, count, channels, height, width] = shape as [number, number, number, number, number];
  const size = data.length / batch;
  return {
    count,
    pixels: Array.from({ length: batch }, (_, i) => swapAxes(data.subarray(i * size, (i + 1) * size), count, channels, height * width)),
  };
}

function recordedDraws({ input }: RecordedRun, samples: number): ReadyInputs["draws"] {
  let drawn = 0;
  return {
    posterior: () => {
      const { data } = input("posterior_noise");
      return data.subarray((drawn * data.length) / samples, (++drawn * data.length) / samples);
    },
    start: () => input("latents").data,
    step: (step, _, size) => input("noise").data.subarray(step * size, (step + 1) * size),
  };
}

/**
 * All steps, and then each by itself, begun from what the reference had before it, so that a step
 * shows its own error and not what went before.
 */
async function denoiseRecorded(run: Run, text: Float32Array, start: DenoiseState, recorded: RecordedRun) {
  using held = await holdDenoiser(run, () => undefined);
  const latents = await takeSteps(run, held.part, text, start, { onStep: () => undefined });
  return { latents, steps: await eachStep(run, held.part, text, start, recorded) };
}

async function eachStep(
  run: Run,
  denoiser: Denoiser,
  text: Float32Array,
  start: DenoiseState,
  { name, input, steps: recorded }: RecordedRun,
): Promise<Record<string, Recorded>> {
  const { shape } = input("latents");
  const { latents, original, ...unknown } = Object.fromEntries(recorded);
  const { length } = run.request.plan.steps;
  const whole = [length, ...shape];
  const wrong =
    Object.keys(unknown)[0] ??
    (["latents", "original"] as const).find((name) => recorded.has(name) && recorded.get(name)!.shape.join() !== whole.join());
  if (wrong)
    throw new CogwheelError(
      "reference",
      `${name}: steps are step.latents and step.original [${whole.join(", ")}], ` +
        `got step.${wrong} [${recorded.get(wrong)!.shape.join(", ")}]; correct it`,
    );
  if (!latents) return {};
  const size = elements(shape);
  const after = (tensor: Recorded, step: number) => tensor.data.subarray((step - 1) * size, step * size);
  const got = { latents: new Float32Array(latents.data.length), original: new Float32Array(latents.data.length) };
  for (let i = 0; i < length; i++) {
    const from: DenoiseState =
      i === 0 ? start : { ...start, step: i, latents: after(latents, i), ...(original ? { original: after(original, i) } : {}) };
    await takeSteps(run, denoiser, text, from, {
      until: i + 1,
      onStep: (state) => {
        got.latents.set(state.latents, i * size);
        if (state.original) got.original.set(state.original, i * size);
      },
    });
  }
  return {
    latents: { shape: whole, data: got.latents },
    ...(original ? { original: { shape: whole, data: got.original } } : {}),
  };
}

/** [B, T, 3, H, W] in 0…1, as diffusers gives them before they become bytes. */
async function decodeToFloats(run: Run, latents: Float32Array): Promise<Recorded> {
  const videos: Float32Array[] = [];
  let shape: readonly number[] = [];
  await decodeEach(
    run,
    latents,
    async (vae, { z, size, options }) => {
      const decoded = await vae.decode(z, size, options);
      const [, channels, frames, height, width] = decoded.shape as [number, number, number, number, number];
      videos.push(swapAxes(decoded.data, channels, frames, height * width).map((v) => Math.min(1, Math.max(0, v / 2 + 0.5))));
      shape = [frames, channels, height, width];
    },
    "sample",
  );
  return { shape: [videos.length, ...shape], data: concat(videos) };
}

/** [a, b, plane] → [b, a, plane] */
function swapAxes(data: Float32Array, a: number, b: number, plane: number): Float32Array {
  const out = new Float32Array(data.length);
  for (let i = 0; i < a; i++)
    for (let j = 0; j < b; j++) out.set(data.subarray((i * b + j) * plane, (i * b + j + 1) * plane), (j * a + i) * plane);
  return out;
}
