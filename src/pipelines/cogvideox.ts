/** The public face of a checkpoint: open it, ask for a video. */
import { openSource } from "#files";
import { availableMemoryBytes } from "#platform";
import { openCheckpoint, type Checkpoint, type Component } from "../checkpoint/checkpoint.ts";
import type { HubOptions } from "../checkpoint/hub-id.ts";
import { readJson, type CheckpointSource } from "../checkpoint/source.ts";
import { T5Tokenizer } from "../checkpoint/t5-tokenizer.ts";
import { expectWeights } from "../checkpoint/weights.ts";
import { CogwheelError } from "../errors.ts";
import { Gpu } from "../gpu/gpu.ts";
import type { Profile } from "../gpu/profile.ts";
import { compile, type Plan } from "../graph/compile.ts";
import { sharedArenas } from "../graph/program.ts";
import { ComponentWeights, type KeptInF32 } from "../models/component-weights.ts";
import { expectedT5Weights, parseT5Config, type T5Config } from "../models/t5/config.ts";
import { T5Encoder, t5Graph } from "../models/t5/encoder.ts";
import { parseTransformerConfig, transformerWeights, type TransformerConfig } from "../models/transformer/config.ts";
import { parseVaeConfig, type VaeConfig } from "../models/vae/config.ts";
import { planVae, vaeWeights } from "../models/vae/graphs.ts";
import { CausalVae, type DecodedFrames } from "../models/vae/vae.ts";
import { TorchGenerator } from "../random/torch.ts";
import { createScheduler, type StepCoefficients } from "../schedulers/scheduler.ts";
import { toVae } from "./conditioning.ts";
import { checkState, Denoiser, denoiseGraph, type DenoiseShape, type DenoiseState } from "./denoiser.ts";
import { GenerationInterrupted } from "./interrupted.ts";
import { adviceFrom, checkSettings, defaultSettings, latentFrames, settingsOf, type ModelRules, type Settings } from "./settings.ts";
import { Video, type RgbaFrame } from "./video.ts";

/** The parts of a generation, in order. `load …` reads weights and compiles; a stage's share done goes from 0 to 1. */
export type Stage = "load text encoder" | "encode prompt" | "load transformer" | "denoise" | "load decoder" | "decode";

export interface OpenOptions {
  /** A device that is already open; it is not closed with the model. */
  gpu?: Gpu;
  /** An adapter by name, where no device is given. Default: the fastest there is. */
  adapter?: string;
  /** Storage type of weights and activations; sums are always f32. Default: f16 on GPUs that have it, f32 elsewhere. */
  dtype?: "f32" | "f16";
  /** File-name variant of the weights, e.g. `fp16`. */
  variant?: string;
  /** How a repository on the hub is fetched: revision, token, cache, progress. */
  hub?: HubOptions;
}

export interface GenerateOptions extends Partial<Settings> {
  /** What to show. Must not be empty. */
  prompt: string;
  /** What not to show. Default: nothing. */
  negative?: string;
  /** Starting noise, the same on every adapter: torch's CPU generator. Default: a random one, told in the result. */
  seed?: number;
  /** Guidance that follows the timestep, as advised for 5B models with DPM. Default false. */
  dynamicGuidance?: boolean;
  /** Go on from here instead of from noise. */
  start?: DenoiseState;
  signal?: AbortSignal;
  profile?: Profile;
  /** Name the first node that makes a NaN or an infinity, and stop. */
  checkFinite?: boolean;
  onProgress?: (stage: Stage, done: number, detail?: string) => void;
  /** After each denoising step. */
  onStep?: (state: DenoiseState, steps: number) => void | Promise<void>;
  /** Things the user should know: a cut prompt, weights that were kept in f32. */
  onWarning?: (message: string) => void;
}

/** Bytes on the adapter at one stage. */
export interface StageMemory {
  readonly stage: string;
  readonly weights: number;
  readonly activations: number;
  readonly total: number;
  readonly flops: number;
  /** No plan could need less for activations. */
  readonly lowerBound: number;
}

interface Configs {
  text: T5Config;
  transformer: TransformerConfig;
  vae: VaeConfig;
}

export class CogVideoX implements AsyncDisposable {
  private constructor(
    readonly gpu: Gpu,
    readonly checkpoint: Checkpoint,
    readonly configs: Configs,
    readonly rules: ModelRules,
    /** What `generate` does where it is not told otherwise: the checkpoint's advice, else the published one. */
    readonly defaults: Settings,
    readonly dtype: "f32" | "f16",
    private readonly ownsGpu: boolean,
  ) {}

  /**
   * Opens a checkpoint in diffusers' layout: a folder (Node), a URL, an id on the hub such as `org/name` or `org/name@revision`
   * (in Node its files are downloaded to the cache that all clients share), or a source. Weights are read when they are needed.
   */
  static async open(from: string | URL | CheckpointSource, options: OpenOptions = {}): Promise<CogVideoX> {
    const what = { only: ["text_encoder", "tokenizer", "transformer", "vae", "scheduler"], ...(options.variant ? { variant: options.variant } : {}) };
    const checkpoint = await openCheckpoint(await openSource(from, { ...what, ...(options.hub ? { hub: options.hub } : {}) }), what);
    let gpu: Gpu | undefined;
    try {
      const { configs, rules } = readConfigs(checkpoint);
      if (options.dtype !== undefined && options.dtype !== "f32" && options.dtype !== "f16") throw new CogwheelError("generate", `dtype must be f32 or f16, got ${JSON.stringify(options.dtype)}; leave it out for the adapter's better one`);
      gpu = options.gpu ?? (await Gpu.open(options.adapter === undefined ? {} : { adapter: options.adapter }));
      if (options.dtype === "f16" && !gpu.caps.f16) throw new CogwheelError("generate", `dtype f16 needs an adapter with shader-f16, got ${gpu.name}; use f32 or another adapter`);
      const dtype = options.dtype ?? (gpu.caps.f16 && gpu.caps.kind === "hardware" ? "f16" : "f32");
      const advice = (await checkpoint.source.exists("generation.json")) ? adviceFrom(await readJson(checkpoint.source, "generation.json")) : {};
      const defaults = { ...defaultSettings(rules), ...advice };
      checkSettings(defaults, rules);
      return new CogVideoX(gpu, checkpoint, configs, rules, defaults, dtype, !options.gpu);
    } catch (error) {
      await checkpoint[Symbol.asyncDispose]();
      if (gpu && !options.gpu) await gpu[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The last answer of `requirements`: planning a published model takes seconds, and a command asks before `generate` does. */
  #planned: { key: string; stages: StageMemory[] } | undefined;

  /** What each stage will take on the adapter; computed from the configs alone, before anything is loaded. */
  requirements(options: Partial<Settings> = {}): StageMemory[] {
    const settings = { ...this.defaults, ...settingsOf(options) };
    checkSettings(settings, this.rules);
    const key = JSON.stringify(settings);
    if (this.#planned?.key !== key) this.#planned = { key, stages: this.#plan(settings) };
    return this.#planned.stages;
  }

  #plan(settings: Settings): StageMemory[] {
    const typesOf = (component: string) => {
      const { weights } = this.checkpoint.component(component);
      return { type: (name: string) => (this.dtype === "f16" && (weights?.get(name)?.shape.length ?? 0) > 1 ? ("f16" as const) : ("f32" as const)) };
    };
    const shape = this.#denoiseShape(settings);
    const { caps } = this.gpu;
    const plans: [string, Plan[]][] = [
      ["text encoder", [compile(t5Graph(this.configs.text, typesOf("text_encoder"), { batch: shape.guidance ? 2 : 1, length: this.configs.transformer.max_text_seq_length, dtype: this.dtype }), caps)]],
      ["transformer", [compile(denoiseGraph(this.configs.transformer, typesOf("transformer"), shape, this.dtype), caps)]],
      ["decoder", planVae(this.configs.vae, caps, { part: "decode", batch: 1, frames: latentFrames(settings.frames, this.rules.temporal), height: shape.height, width: shape.width, format: "rgba", dtype: this.dtype })],
    ];
    return plans.map(([stage, list]) => {
      // The decoder's two programs share their arenas, and the second reads the first one's caches where they lie.
      const shared = list.slice(1).flatMap((p) => [...p.graph.inputs].filter(([name]) => name !== "x").map(([, tensor]) => tensor.bytes));
      const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
      const activations = sum(sharedArenas(list)) + sum(list.map((p) => p.bytes.io)) - sum(shared);
      const weights = new Map(list.flatMap((p) => [...p.weights].map(([key, w]) => [key, w.bytes] as const)));
      const weightBytes = [...weights.values()].reduce((a, b) => a + b, 0);
      return { stage, weights: weightBytes, activations, total: weightBytes + activations, flops: list.reduce((n, p) => n + p.cost.flops, 0), lowerBound: Math.max(...list.map((p) => p.bytes.lowerBound)) };
    });
  }

  /** Text to video. Encode the prompt, prepare latents, denoise, decode, return. */
  async generate(options: GenerateOptions): Promise<Video> {
    checkNames(options);
    const settings: Settings = { ...this.defaults, ...settingsOf(options) };
    checkSettings(settings, this.rules);
    if (typeof options.prompt !== "string" || options.prompt.trim() === "") throw new CogwheelError("generate", `the prompt must not be empty, got ${JSON.stringify(options.prompt)}; say what to show`);
    const seed = options.seed ?? Math.floor(Math.random() * 2 ** 32);
    if (!Number.isSafeInteger(seed)) throw new CogwheelError("generate", `a seed must be a whole number up to 2^53 − 1, got ${seed}`);
    const shape = this.#denoiseShape(settings);
    const steps = createScheduler(this.checkpoint.component("scheduler").config, settings.scheduler).steps(settings.steps);
    if (options.start) checkState(options.start, this.#latentsShape(shape), steps);
    this.#checkWeights();
    this.#refuseIfTooLarge(settings);
    const clock = new StageClock(options);

    const generator = new TorchGenerator(seed);
    const noise = generator.randn(this.#latentsShape(shape));
    const start = options.start ?? { step: 0, latents: noise };
    // Latents that are done are decoded again, which needs no prompt.
    const latents = start.step === steps.length ? start.latents : await this.#denoise(await this.#encodePrompt(options, settings, clock), shape, start, steps, generator, settings, options, clock);
    const frames = await this.#decode(latents, shape, settings, options, clock).catch((error: unknown) => {
      throw new GenerationInterrupted({ step: steps.length, latents }, steps.length, error);
    });
    return new Video(frames, { ...settings, seed, prompt: options.prompt }, { step: steps.length, latents }, clock.seconds);
  }

  #denoiseShape(settings: Settings): DenoiseShape {
    const { patch_size_t } = this.configs.transformer;
    const frames = latentFrames(settings.frames, this.rules.temporal);
    return {
      samples: 1,
      frames: patch_size_t ? Math.ceil(frames / patch_size_t) * patch_size_t : frames,
      height: settings.height / this.rules.spatial, width: settings.width / this.rules.spatial,
      textLength: this.configs.transformer.max_text_seq_length, guidance: settings.guidance > 1, stochastic: settings.scheduler === "dpm",
    };
  }

  #latentsShape(shape: DenoiseShape): number[] {
    return [shape.samples, shape.frames, this.configs.transformer.in_channels, shape.height, shape.width];
  }

  /** Everything that is missing in any component is told at once, before any of them is loaded. */
  #checkWeights(): void {
    const expected: [string, Map<string, readonly number[]>][] = [
      ["text_encoder", expectedT5Weights(this.configs.text)],
      ["transformer", transformerWeights(this.configs.transformer)],
      ["vae", vaeWeights(this.configs.vae, ["decode"])],
    ];
    const wrong: CogwheelError[] = [];
    for (const [name, weights] of expected) {
      try {
        expectWeights(this.checkpoint.component(name), weights);
      } catch (error) {
        if (!(error instanceof CogwheelError)) throw error;
        wrong.push(error);
      }
    }
    if (wrong.length === 1) throw wrong[0]!;
    if (wrong.length) throw new CogwheelError("checkpoint", wrong.map((error) => error.message.replace(/^\[checkpoint\] /, "")).join("\n"), { cause: wrong });
  }

  #refuseIfTooLarge(settings: Settings): void {
    // Planning alone finds tensors and bindings that no buffer of this adapter holds, on any adapter. How much memory a GPU has
    // free WebGPU does not tell; a CPU adapter takes the machine's.
    const stages = this.requirements(settings);
    const available = this.gpu.caps.kind === "software" ? availableMemoryBytes() : undefined;
    if (available === undefined) return;
    const worst = stages.reduce((a, b) => (b.total > a.total ? b : a));
    if (worst.total > available) {
      throw new CogwheelError("generate", `the ${worst.stage} needs ${mega(worst.total)} (weights ${mega(worst.weights)}, activations ${mega(worst.activations)}), got ${mega(available)} of free memory; choose a smaller size, fewer frames${this.dtype === "f32" && this.gpu.caps.f16 ? " or dtype f16" : ""}`);
    }
  }

  async #weights(component: Component, options: GenerateOptions): Promise<ComponentWeights> {
    const weights = await ComponentWeights.open(component, this.dtype, options.signal ? { signal: options.signal } : {});
    if (weights.kept.length) options.onWarning?.(keptMessage(component.name, weights.kept));
    return weights;
  }

  /** [B, T, E]: with guidance the negative prompt first. The text encoder is gone again before the transformer is loaded. */
  async #encodePrompt(options: GenerateOptions, settings: Settings, clock: StageClock): Promise<Float32Array> {
    const length = this.configs.transformer.max_text_seq_length;
    const tokenizer = await T5Tokenizer.open(this.checkpoint.source);
    const texts = settings.guidance > 1 ? [options.negative ?? "", options.prompt] : [options.prompt];
    const ids = new Int32Array(texts.length * length);
    texts.forEach((text, i) => {
      const encoded = tokenizer.encode(text, length);
      if (encoded.cut !== null) options.onWarning?.(`[generate] a prompt may have ${length} tokens; cut off: ${JSON.stringify(encoded.cut)}`);
      ids.set(encoded.ids, i * length);
    });
    const component = this.checkpoint.component("text_encoder");
    using encoder = await clock.time("load text encoder", async (report) => {
      const weights = await this.#weights(component, options);
      return T5Encoder.create(this.gpu, this.configs.text, weights, { batch: texts.length, length, dtype: this.dtype, ...load(options, report) });
    });
    return await clock.time("encode prompt", (report) => encoder.encode(ids, { ...run(options), onProgress: report }));
  }

  async #denoise(text: Float32Array, shape: DenoiseShape, start: DenoiseState, steps: readonly StepCoefficients[], generator: TorchGenerator, settings: Settings, options: GenerateOptions, clock: StageClock): Promise<Float32Array> {
    const size = start.latents.length;
    // The generator goes on drawing as the reference does, whichever step the run starts from.
    let drawn = 0;
    const noise = (step: number): Float32Array => {
      let last: Float32Array = new Float32Array(size);
      for (; drawn <= step; drawn++) for (let d = 0; d < steps[drawn]!.draws; d++) last = generator.randn([size]);
      return last;
    };
    using denoiser = await clock.time("load transformer", async (report) => {
      const weights = await this.#weights(this.checkpoint.component("transformer"), options);
      return Denoiser.create(this.gpu, this.configs.transformer, weights, shape, { dtype: this.dtype, ...load(options, report) });
    });
    let state = start;
    return await clock.time("denoise", async (report) => {
      try {
        return await denoiser.run({
          ...run(options), start, text, steps, noise, guidanceScale: settings.guidance,
          ...(options.dynamicGuidance ? { dynamicGuidance: { steps: settings.steps } } : {}),
          onStep: async (reached) => {
            state = reached;
            report(reached.step / steps.length, `step ${reached.step} of ${steps.length}`);
            await options.onStep?.(reached, steps.length);
          },
        });
      } catch (error) {
        throw state.step > start.step ? new GenerationInterrupted(state, steps.length, error) : error;
      }
    });
  }

  async #decode(latents: Float32Array, shape: DenoiseShape, settings: Settings, options: GenerateOptions, clock: StageClock): Promise<RgbaFrame[]> {
    const { vae: config, transformer } = this.configs;
    const wanted = latentFrames(settings.frames, this.rules.temporal);
    const z = toVae(latents, { ...shape, channels: transformer.in_channels, skip: shape.frames - wanted }, 1 / config.scaling_factor);
    const size = { batch: shape.samples, frames: wanted, height: shape.height, width: shape.width };
    using vae = await clock.time("load decoder", async (report) => {
      const weights = await this.#weights(this.checkpoint.component("vae"), options);
      const decoder = CausalVae.create(this.gpu, config, weights, { dtype: this.dtype });
      try {
        await decoder.prepare("decode", size, { format: "rgba", ...load(options, report) });
        return decoder;
      } catch (error) {
        decoder[Symbol.dispose]();
        throw error;
      }
    });
    return await clock.time("decode", async (report) => {
      const frames: RgbaFrame[] = [];
      const onFrames = ({ frames: count, height, width, data }: DecodedFrames) => {
        for (let f = 0; f < count; f++) frames.push({ width, height, data: (data as Uint8Array).subarray(f * width * height * 4, (f + 1) * width * height * 4) });
      };
      await vae.decode(z, size, { ...run(options), onProgress: report, format: "rgba", onFrames });
      return frames;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.checkpoint[Symbol.asyncDispose]();
    if (this.ownsGpu) await this.gpu[Symbol.asyncDispose]();
  }
}

function readConfigs(checkpoint: Checkpoint): { configs: Configs; rules: ModelRules } {
  const config = (name: string) => checkpoint.component(name).config as Record<string, unknown>;
  const configs: Configs = { text: parseT5Config(config("text_encoder")), transformer: parseTransformerConfig(config("transformer")), vae: parseVaeConfig(config("vae")) };
  const { text, transformer, vae } = configs;
  if (text.d_model !== transformer.text_embed_dim) throw new CogwheelError("checkpoint", `the text encoder's d_model must be the transformer's text_embed_dim, got ${text.d_model} and ${transformer.text_embed_dim}; the folders belong to different models`);
  if (transformer.in_channels !== vae.latent_channels) throw new CogwheelError("checkpoint", `text to video needs a transformer with ${vae.latent_channels} input channels, got ${transformer.in_channels}; this checkpoint is for images or control videos`);
  const { kind: scheduler } = createScheduler(config("scheduler"), checkpoint.component("scheduler").className);
  return {
    configs,
    rules: {
      spatial: 2 ** (vae.block_out_channels.length - 1), temporal: vae.temporal_compression_ratio, patchSize: transformer.patch_size,
      sampleHeight: transformer.sample_height, sampleWidth: transformer.sample_width, sampleFrames: transformer.sample_frames, anySize: transformer.patch_size_t !== null, scheduler,
    },
  };
}

/** Measures stages and passes their progress on. */
class StageClock {
  readonly seconds: Partial<Record<Stage, number>> = {};
  readonly #options: GenerateOptions;
  constructor(options: GenerateOptions) {
    this.#options = options;
  }
  async time<T>(stage: Stage, work: (report: (done: number, detail?: string) => void) => Promise<T>): Promise<T> {
    const start = performance.now();
    const { onProgress } = this.#options;
    // A stage is done when its work is over, not when the last part of it says so: 1 is told once.
    let over = false;
    onProgress?.(stage, 0);
    const result = await work((done, detail) => {
      if (!over && done < 1) onProgress?.(stage, done, detail);
    }).finally(() => (over = true));
    onProgress?.(stage, 1);
    this.seconds[stage] = (performance.now() - start) / 1000;
    return result;
  }
}

const run = ({ signal, profile, checkFinite }: GenerateOptions) => defined({ signal, profile, checkFinite });
const load = ({ signal }: GenerateOptions, report: (done: number) => void) => ({ ...defined({ signal }), onProgress: (done: number, total: number) => report(total ? done / total : 1) });

function defined<T extends object>(record: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(record).filter(([, v]) => v !== undefined)) as { [K in keyof T]?: Exclude<T[K], undefined> };
}

/** An option that is misspelled would change nothing, silently. */
function checkNames(options: GenerateOptions): void {
  const known: Record<keyof GenerateOptions, true> = {
    prompt: true, negative: true, seed: true, height: true, width: true, frames: true, fps: true, steps: true, guidance: true, scheduler: true, dynamicGuidance: true, start: true,
    signal: true, profile: true, checkFinite: true, onProgress: true, onStep: true, onWarning: true,
  };
  const unknown = Object.keys(options).find((name) => !Object.hasOwn(known, name));
  if (unknown !== undefined) throw new CogwheelError("generate", `options must be among ${Object.keys(known).join(", ")}, got ${JSON.stringify(unknown)}; check its spelling`);
}

const mega = (bytes: number): string => (bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${(bytes / 1e6).toFixed(0)} MB`);

function keptMessage(component: string, kept: readonly KeptInF32[]): string {
  const list = kept.slice(0, 8).map((k) => `${k.name} (${k.overflow} too large, ${k.underflow} too small)`).join(", ");
  return `[checkpoint] ${kept.length} of ${component}'s weights do not fit f16 and stay f32: ${list}${kept.length > 8 ? ` and ${kept.length - 8} more` : ""}`;
}
