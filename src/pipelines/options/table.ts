/**
 * The options of a generation, each in one entry. Everything else follows from the entries: the types that `generate` and the other calls
 * take, the checks of values, the command's flags and help, what saved latents keep, the page's form, and the tables of the docs. To add
 * an option, add an entry here, the line that uses it, and a test.
 */
import type { SchedulerKind } from "../../diffusion/scheduler.ts";
import type { Profile } from "../../gpu/profile.ts";
import type { DenoiseState } from "../../models/cogvideox/model.ts";
import type { Task } from "../../models/cogvideox/task.ts";
import type { Fit } from "../../video/fit.ts";
import type { Frame, RgbaFrame } from "../../video/frame.ts";
import type { WorkShare } from "../cogvideox/share.ts";
import type { Stage } from "../cogvideox/stage-names.ts";
import type { LoraInput } from "../lora-input.ts";
import type { OverallProgress } from "../overall.ts";
import { bytes, choice, falling, given, number, onOff, option, text, type Option } from "./option.ts";

/** `diffusers`: as its pipelines do. `sat`: as the authors' own sampler does. `corrected`: what the formulas were meant to say. */
export type ReferenceProfile = "diffusers" | "sat" | "corrected";

/**
 * How the VAE works on large pictures: `none` as a whole; `exact` part by part through host memory, with the same result;
 * `reference` as diffusers' `enable_tiling` does, with another result.
 */
export type TilingMode = "none" | "exact" | "reference";

/** Settings. The default is the checkpoint's own advice, else the published one. */
export const SETTINGS = {
  /** Pixels of a row; a multiple of 16 for published models. */
  width: option({
    values: number(),
    help: "width and height in pixels",
    otherwise: "the size the model was trained at",
    advice: "width",
    flag: "--size <WxH>",
    saved: "taken",
    page: { label: "Width", at: "settings", min: 16, step: 16 },
  }),
  /** Rows; a multiple of 16 for published models. */
  height: option({
    values: number(),
    advice: "height",
    flag: "--size <WxH>",
    saved: "taken",
    page: { label: "Height", at: "settings", min: 16, step: 16 },
  }),
  /** Frames of the video; 1 makes a picture. */
  frames: option({
    values: number(),
    help: "frames of the video; 1 makes a picture",
    advice: "num_frames",
    flag: "--frames <n>",
    saved: "taken",
    page: { label: "Length", at: "settings", listed: true },
  }),
  /** Frames a second of the file. */
  fps: option({
    values: number({ above: 0, max: 240 }),
    help: "frames a second of the file",
    remedy: "8 is what the first models were trained at",
    advice: "fps",
    flag: "--fps <n>",
    saved: "taken",
    page: { label: "Frames a second", at: "settings", min: 1, step: 1 },
  }),
  /** Denoising steps. */
  steps: option({
    values: number({ whole: true, min: 1, max: 1000 }),
    help: "denoising steps",
    remedy: "50 is the published advice",
    advice: "num_inference_steps",
    flag: "--steps <n>",
    saved: "fixed",
    page: { label: "Steps", at: "settings" },
  }),
  /** The timesteps of the steps in place of evenly spaced ones, falling from at most 999, as adapters for few steps were trained at. */
  timesteps: option({
    values: falling,
    help: "the steps' own timesteps, such as 999,856,665,399, where an adapter was trained at these",
    remedy: "leave them out for evenly spaced ones",
    otherwise: "spaced evenly",
    advice: "timesteps",
    flag: "--timesteps <list>",
    saved: "fixed",
    page: { label: "Timesteps", at: "advanced", placeholder: "spaced evenly", hint: "such as 999, 856, 665, 399" },
  }),
  /** Classifier-free guidance; 1 switches it off, and halves the work of a step. */
  guidance: option({
    values: number({ min: 0 }),
    help: "classifier-free guidance; 1 switches it off, which halves the work of a step",
    remedy: "6 is the published advice, 1 switches it off",
    advice: "guidance_scale",
    flag: "--guidance <scale>",
    saved: "taken",
    page: { label: "Guidance", at: "settings", step: 0.5 },
  }),
  /** The sampler. */
  scheduler: option({
    values: choice<SchedulerKind>({ ddim: "DDIM", dpm: "DPM" }),
    called: "the scheduler",
    help: "sampler",
    advice: "scheduler",
    flag: "--scheduler <name>",
    saved: "fixed",
    page: { label: "Scheduler", at: "advanced" },
  }),
};

/** What the video shows, and what it begins from. */
export const REQUESTS = {
  /** What to show. */
  prompt: option({
    values: text,
    called: "the prompt",
    help: "what to show",
    flag: "--prompt-file <file>",
    flagHelp: "read the prompt from a file",
    saved: "taken",
  }),
  /** What not to show. Default: nothing. */
  negative: option({
    values: text,
    help: "what not to show",
    remedy: "leave it out for none",
    flag: "--negative <prompt>",
    saved: "taken",
    page: { label: "What not to show", at: "settings", wide: true },
  }),
  /**
   * All random draws, the same on every adapter: torch's CPU generator, in the order of diffusers'
   * pipelines. Default: a random one, which the result names.
   */
  seed: option({
    values: number({ whole: true, max: Number.MAX_SAFE_INTEGER }),
    called: "a seed",
    help: "number that sets the starting noise: the same seed gives the same noise on every device",
    otherwise: "a random one",
    flag: "--seed <n>",
    saved: "taken",
    page: { label: "Seed", at: "settings", placeholder: "random" },
  }),
  /** Guidance that follows the timestep, as advised for 5B models with DPM. Default false. */
  dynamicGuidance: option({
    values: onOff,
    help: "guidance that follows the timestep, as advised for 5B models with dpm",
    flag: "--dynamic-guidance",
    saved: "taken",
    page: { label: "Guidance that follows the timestep", at: "advanced", wide: true },
  }),
  /** The first frame, for image-to-video and inpainting checkpoints. */
  image: option({
    values: given<Frame>("frame"),
    help: "the first frame, for image-to-video checkpoints: a picture, or the first frame of a video",
    tasks: ["image", "inpaint"],
    flag: "--image <file>",
    page: { label: "the first frame", at: "role" },
  }),
  /** The video to begin from (text-to-video checkpoints) or to keep parts of (inpainting checkpoints). */
  video: option({
    values: given<readonly Frame[]>("frames"),
    help: "a video to begin from: MP4, WebM, MOV, MKV, GIF, or a folder of PNG, JPEG or WebP; only its first frames are used",
    tasks: ["video", "inpaint"],
    flag: "--video <file>",
    page: { label: "the video to begin from", at: "role" },
  }),
  /** How far from `video` the result may go, above 0 up to 1: the share of the steps to run. Default 0.8. */
  strength: option({
    values: number({ above: 0, max: 1, range: "above 0 and at most 1" }),
    help: "how far from --video the result may go, above 0 up to 1",
    remedy: "0.8 is the published advice",
    fallback: 0.8,
    tasks: ["video"],
    flag: "--strength <share>",
    saved: "fixed",
    page: { label: "Strength", at: "begin", min: 0.05, step: 0.05, hint: "how far from the video" },
  }),
  /** Edges, depth, poses … of the video to make, for control checkpoints. */
  control: option({
    values: given<readonly Frame[]>("frames"),
    help: "a control video (edges, depth, poses …), for control checkpoints",
    tasks: ["control"],
    flag: "--control <file>",
    page: { label: "the video to follow", at: "role" },
  }),
  /** Inpainting: white is made anew, black is kept; as many frames as the video's, or one for all. */
  mask: option({
    values: given<readonly Frame[]>("frames"),
    help: "for --video with an inpainting checkpoint: white parts are made anew, black parts are kept",
    tasks: ["inpaint"],
    flag: "--mask <file>",
  }),
  /** How inputs of another size are made to fit. Default `crop`. */
  fit: option({
    values: choice<Fit>({ crop: "crop", stretch: "stretch", pad: "pad" }),
    help: "how to resize inputs of another shape (Lanczos)",
    remedy: "crop is the default",
    otherwise: "crop, equally on both sides",
    tasks: ["image", "video", "control", "inpaint"],
    flag: "--fit <how>",
    page: { label: "Fit", at: "begin" },
  }),
  /** Videos of this prompt, denoised together. Default 1. */
  samples: option({
    values: number({ whole: true, min: 1, max: 64 }),
    help: "how many videos of this prompt to make together; their files get -1, -2, …",
    fallback: 1,
    flag: "--samples <n>",
    saved: "fixed",
  }),
  /** Adapters on the transformer, all of them at once (docs/lora.md). */
  loras: option({
    values: given<readonly LoraInput[]>("adapters"),
    help: "an adapter on the transformer, with its strength (default 1); may be given several times",
    flag: "--lora <file[:scale]>",
    saved: "named",
  }),
  /** Whose behaviour to follow where published implementations disagree (docs/profiles.md). Default `diffusers`. */
  profile: option({
    values: choice<ReferenceProfile>({ diffusers: "diffusers", sat: "SAT", corrected: "corrected" }),
    help: "whose behaviour to follow where published implementations disagree; see docs/profiles.md",
    remedy: "diffusers is the default",
    fallback: "diffusers",
    flag: "--reference-profile <name>",
    saved: "taken",
  }),
  /** How the VAE works on large pictures. Default `none` where the adapter can, else `exact`. */
  tiling: option({
    values: choice<TilingMode>({ none: "none", exact: "exact", reference: "reference" }),
    help: "how the VAE works on large pictures; see docs/vae.md",
    otherwise: "none if the adapter can hold them, else exact",
    flag: "--tiling <mode>",
  }),
};

/** How the generation runs, and what it reports. */
export const RUNNING = {
  /** Starting noise [samples, F, C, h, w] in place of a draw, or the state of an interrupted run to go on from. */
  start: option({
    values: given<Float32Array | DenoiseState>(),
    help: "noise to start from, or the state of a run to continue",
    flag: "--latents <file>",
    flagHelp: "start from saved latents, or continue their run",
  }),
  /** The part of the generation that this process does, where others do the rest. Default: all of it. */
  share: option({ values: given<WorkShare>(), help: "the part of the work to do" }),
  /**
   * Bytes of the adapter's memory that the generation may take. A plan that takes more is made smaller, or refused before anything is
   * loaded. Default: `memoryBytes` that the model was opened with, else what is free on adapters that run on the CPU, else no limit.
   */
  memoryBytes: option({
    values: bytes,
    help: "memory of the adapter that the generation may take, such as 4GB; see docs/memory.md",
    remedy: "4e9 is 4 GB; leave it out for all there is",
    otherwise: "all there is",
    flag: "--memory <size>",
    page: { label: "GPU memory", at: "advanced", placeholder: "all", hint: "such as 4GB" },
  }),
  /** Collects GPU time by kernel. */
  gpuProfile: option({
    values: given<Profile>(),
    help: "collects GPU time by kernel",
    flag: "--profile [file]",
    flagHelp: "print GPU time by kernel and write a Chrome trace",
  }),
  /** Name the first node that makes a NaN or an infinity, and stop. */
  checkFinite: option({
    values: onOff,
    help: "stop at the first node that makes a NaN or an infinity, and name that node",
    flag: "--check-finite",
  }),
  /**
   * Keep what the text encoder makes of the prompt for this user (docs/api.md), so that the next generation with it loads no encoder:
   * in the user's cache folder, in a browser in the origin's storage. Default true.
   */
  cache: option({
    values: onOff,
    help: "keep what the text encoder makes of the prompt, so that the next generation with it loads no encoder",
    fallback: true,
    flag: "--no-cache",
    flagHelp: "neither use nor keep what the text encoder makes of the prompt",
  }),
  /**
   * Add small pictures of the video so far to each step (`GenerationStep.preview`). Encodes 16 tiny pictures
   * before the first step, once per model. Default false.
   */
  preview: option({ values: onOff, help: "add small pictures of the video so far to each step" }),
  /**
   * Leave the frames on the device, as `video.textures`, without reading them back; `showTexture` draws
   * them. Not with tiling `reference`. Default false.
   */
  textures: option({ values: onOff, help: "leave the frames on the device" }),
  /** Stops the generation. */
  signal: option({ values: given<AbortSignal>(), help: "stops the generation" }),
  /**
   * Called with the stage under way, the share of it that is done, words on it, and how far the whole generation is; of the last nothing
   * while it is queued.
   */
  onProgress: option({
    values: given<(stage: Stage, done: number, detail?: string, overall?: OverallProgress) => void>(),
    help: "called with the stage under way and its progress",
  }),
  /**
   * Called with frames as they are decoded, so that an app can encode or show them while the next ones are computed. They are those of
   * sample `sample` from number `first` on. Awaited; with tiling `reference` all come at the end. The video has them too. Not with
   * `textures`.
   */
  onFrames: option({
    values: given<(frames: readonly RgbaFrame[], first: number, sample: number) => void | Promise<void>>(),
    help: "called with frames as they are decoded",
  }),
  /**
   * Called after each denoising step; awaited. As with `onFrames`, do not await a generation of the same model in it:
   * that one waits for this one's end.
   */
  onStep: option({
    values: given<(state: DenoiseState, steps: number) => void | Promise<void>>(),
    help: "called after every denoising step",
  }),
  /** Called with what the user should know: a cut prompt, weights that were kept in f32. */
  onWarning: option({ values: given<(message: string) => void>(), help: "called with warnings for the user" }),
};

export const OPTIONS = { ...SETTINGS, ...REQUESTS, ...RUNNING };
export type OptionName = keyof typeof OPTIONS;

/** An option by its name. */
export const optionOf = (name: OptionName): Option<unknown> => OPTIONS[name];
/** Every option with its name, in the order of the table. */
export const OPTION_LIST = Object.entries(OPTIONS) as unknown as readonly (readonly [OptionName, Option<unknown>])[];

/** Those of these options that belong to a task. */
export function ofTask<T extends object>(options: T, task: Task): Partial<T> {
  const belongs = (name: string): boolean => optionOf(name as OptionName).tasks?.includes(task) ?? true;
  return Object.fromEntries(Object.entries(options).filter(([name]) => belongs(name))) as Partial<T>;
}
