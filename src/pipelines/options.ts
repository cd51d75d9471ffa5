/** What the public calls take. */
import type { HubOptions } from "../hub/id.ts";
import { CogwheelError } from "../base/errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { Profile } from "../gpu/profile.ts";
import type { TuningTable } from "../plan/tuning.ts";
import type { DenoiseState } from "../models/cogvideox/model.ts";
import type { LoraInput } from "./lora-file.ts";
import type { ReferenceProfile } from "./profiles.ts";
import type { Settings } from "./settings.ts";
import type { TaskInputs } from "./task.ts";
import type { RgbaFrame } from "./video.ts";

/**
 * The parts of a generation, in order; `load encoder` and `encode frames` only where there are frames to begin from, `prepare preview` in
 * the first generation of a model with previews. `load …` reads weights and compiles.
 */
export type Stage =
  | "load text encoder"
  | "encode prompt"
  | "load encoder"
  | "encode frames"
  | "prepare preview"
  | "load transformer"
  | "denoise"
  | "load decoder"
  | "decode";

/**
 * How the VAE goes about pictures that are large: `none` takes them whole; `exact` part by part through host memory, with the same result;
 * `reference` as diffusers' `enable_tiling` does, with another result.
 */
export type TilingMode = "none" | "exact" | "reference";
export const TILINGS: readonly TilingMode[] = ["none", "exact", "reference"];

export interface OpenOptions {
  /** A device that is already open; it is not closed with the model. */
  gpu?: Gpu;
  /** An adapter by name, where no device is given. Default: the fastest there is. */
  adapter?: string;
  /**
   * Which kernels were measured to be fastest on this adapter, where no device is given (docs/tuning.md): a table, or false for the choice
   * by capability alone. Default: what `cogwheel tune` stored, in Node.
   */
  tuning?: TuningTable | false;
  /** Storage type of weights and activations; sums are always f32. Default: f16 on GPUs that have it, f32 elsewhere. */
  dtype?: "f32" | "f16";
  /** File-name variant of the weights, e.g. `fp16`. */
  variant?: string;
  /** Read the configs alone, for `requirements` and `tune`: such a model has no weights to generate with. Default false. */
  configsOnly?: boolean;
  /** How a repository on the hub is fetched: revision, token, cache, progress. */
  hub?: HubOptions;
  /**
   * Keep what was loaded on the adapter from one generation to the next: the text encoder, the transformer and the VAE together, where
   * else only one of them is there at a time. Adapters (`loras`) then come and go without reloading. Default false.
   */
  keep?: boolean;
  /**
   * Bytes of the adapter's memory that this model may take. WebGPU does not tell how much a GPU has, so an app that knows says it here: a
   * generation whose plan takes more is refused before anything is loaded. Default: what is free on adapters that run on the CPU, else no limit.
   */
  memoryBytes?: number;
  /** Things the user should know: keys of the configs that nobody here knows, a tuning table that does not hold here. */
  onWarning?: (message: string) => void;
}

export interface GenerateOptions extends Partial<Settings>, TaskInputs {
  /** What to show. Must not be empty. */
  prompt: string;
  /** What not to show. Default: nothing. */
  negative?: string;
  /** All random draws, the same on every adapter: torch's CPU generator, in the order of diffusers' pipelines. Default: a random one, told in the result. */
  seed?: number;
  /** Videos of this prompt, denoised together. Default 1. */
  samples?: number;
  /** Guidance that follows the timestep, as advised for 5B models with DPM. Default false. */
  dynamicGuidance?: boolean;
  /** Starting noise [samples, F, C, h, w] in place of a draw, or the state of an interrupted run to go on from. */
  start?: Float32Array | DenoiseState;
  /** Adapters on the transformer, all of them at once (docs/lora.md). */
  loras?: readonly LoraInput[];
  /** Which side is taken where published implementations disagree (docs/profiles.md). Default `diffusers`. */
  profile?: ReferenceProfile;
  /** How the VAE goes about large pictures. Default `none` where the adapter can, else `exact`. */
  tiling?: TilingMode;
  /** Steps carry small pictures of the video as it looks then (`GenerationStep.preview`). Costs encoding 16 tiny pictures before the first step, once a model. Default false. */
  preview?: boolean;
  /** Leave the frames on the device, as `video.textures`, without reading them back; `showTexture` draws them. Not with tiling `reference`. Default false. */
  textures?: boolean;
  signal?: AbortSignal;
  /** Collects GPU time by kernel. */
  gpuProfile?: Profile;
  /** Name the first node that makes a NaN or an infinity, and stop. */
  checkFinite?: boolean;
  onProgress?: (stage: Stage, done: number, detail?: string) => void;
  /**
   * Frames as they are decoded, so that a film can be encoded or shown while the next ones are computed: those of sample `sample` from number
   * `first` on. Awaited; with tiling `reference` all come at the end. The video has them too. Not with `textures`.
   */
  onFrames?: (frames: readonly RgbaFrame[], first: number, sample: number) => void | Promise<void>;
  /** After each denoising step; awaited. As with `onFrames`, a generation of the same model that it waits for would wait for this one's end. */
  onStep?: (state: DenoiseState, steps: number) => void | Promise<void>;
  /** Things the user should know: a cut prompt, weights that were kept in f32. */
  onWarning?: (message: string) => void;
}

const KNOWN: Record<keyof GenerateOptions, true> = {
  prompt: true,
  negative: true,
  seed: true,
  samples: true,
  height: true,
  width: true,
  frames: true,
  fps: true,
  steps: true,
  guidance: true,
  scheduler: true,
  dynamicGuidance: true,
  image: true,
  video: true,
  control: true,
  mask: true,
  strength: true,
  fit: true,
  start: true,
  loras: true,
  profile: true,
  tiling: true,
  preview: true,
  textures: true,
  signal: true,
  gpuProfile: true,
  checkFinite: true,
  onProgress: true,
  onFrames: true,
  onStep: true,
  onWarning: true,
};

/** Of a prompt. A tokenizer takes some 70 bytes for each. */
const MOST_CHARACTERS = 100_000;

/** Throws for what is wrong by itself. An option that is misspelled would change nothing, silently. */
export function checkOptions(options: GenerateOptions): void {
  const unknown = Object.keys(options).find((name) => !Object.hasOwn(KNOWN, name));
  const fail = (rule: string): never => {
    throw new CogwheelError("generate", rule);
  };
  if (unknown !== undefined)
    fail(`options must be among ${Object.keys(KNOWN).join(", ")}, got ${JSON.stringify(unknown)}; check its spelling`);
  if (typeof options.prompt !== "string" || options.prompt.trim() === "")
    fail(`the prompt must not be empty, got ${JSON.stringify(options.prompt)}; say what to show`);
  if (options.negative !== undefined && typeof options.negative !== "string")
    fail(`negative must be a text, got ${JSON.stringify(options.negative)?.slice(0, 60)}; leave it out for none`);
  for (const [name, text] of [
    ["the prompt", options.prompt],
    ["negative", options.negative ?? ""],
  ] as const)
    if (text.length > MOST_CHARACTERS)
      fail(
        `${name} may have ${MOST_CHARACTERS} characters, of which a model reads the first few hundred words, got ${text.length}; shorten it`,
      );
  if (options.seed !== undefined && !Number.isSafeInteger(options.seed))
    fail(`a seed must be a whole number up to 2^53 − 1, got ${options.seed}`);
  if (options.samples !== undefined && !(Number.isInteger(options.samples) && options.samples >= 1 && options.samples <= 64))
    fail(`samples must be a whole number from 1 to 64, got ${options.samples}`);
  if (options.loras !== undefined && !(Array.isArray(options.loras) && options.loras.every((lora) => lora?.adapter)))
    fail(`loras must be a list of { adapter, scale }, got ${JSON.stringify(options.loras)?.slice(0, 60)}`);
  if (options.textures && options.onFrames)
    fail("frames are either left on the device or handed over, got textures and onFrames; leave one out");
  if (options.textures && options.tiling === "reference")
    fail("textures are made as frames are decoded, got tiling reference, which blends them at the end; leave one out");
  if (options.tiling !== undefined && !TILINGS.includes(options.tiling))
    fail(`tiling must be ${TILINGS.join(", ")}, got ${JSON.stringify(options.tiling)}`);
}

/** The options that are set, without those that say `undefined`. */
export function defined<T extends object>(record: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(record).filter(([, v]) => v !== undefined)) as { [K in keyof T]?: Exclude<T[K], undefined> };
}
