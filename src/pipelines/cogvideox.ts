/** The public face of a checkpoint: open it, ask for a video. */
import { openSource } from "#files";
import { availableMemoryBytes } from "#platform";
import { openCheckpoint, type Checkpoint, type Component } from "../checkpoint/checkpoint.ts";
import { readJson, type CheckpointSource } from "../sources/source.ts";
import { T5Tokenizer } from "../text/t5-tokenizer.ts";
import { expectWeights } from "../checkpoint/weight-index.ts";
import { CogwheelError } from "../base/errors.ts";
import { CHECK_FINITE, expectFinite, expectFloats } from "../base/finite.ts";
import { Gpu, type OpenGpuOptions } from "../gpu/gpu.ts";
import { ComponentWeights, keptMessage } from "../checkpoint/component-weights.ts";
import { LoraWeights, withLoras, type LoraAdapter, type LoraChange } from "../models/lora/merge.ts";
import { expectedT5Weights } from "../models/t5/weights.ts";
import { T5Encoder } from "../models/t5/model.ts";
import { transformerWeights } from "../models/cogvideox/weights.ts";
import { vaeWeights, type VideoShape } from "../models/vae/batches.ts";
import { CausalVae, type DecodedFrames } from "../models/vae/model.ts";
import { TorchGenerator } from "../diffusion/torch-random.ts";
import { createScheduler, type Scheduler, type StepCoefficients } from "../diffusion/scheduler.ts";
import { bytesText } from "../base/units.ts";
import { fitFrames } from "../video/fit.ts";
import { firstStep, fromVae, imageCondition, imageScale, inpaintCondition, inpaintFrames, toVae } from "./conditioning.ts";
import { readConfigs } from "./configs.ts";
import { checkState, Denoiser, type DenoiseShape, type DenoiseState } from "../models/cogvideox/model.ts";
import { generation, type Generation, type GenerationStep } from "./generation.ts";
import { GenerationInterrupted } from "./interrupted.ts";
import { KeptParts, type Held } from "./kept-parts.ts";
import { loadLora, type LoraInput } from "./lora-file.ts";
import { checkOptions, defined, type GenerateOptions, type OpenOptions, type TilingMode } from "./options.ts";
import { dynamicGuidanceAt, switchesOf, textLength, type ProfileSwitches } from "./profiles.ts";
import { cleanLatents, previewFrames, probeColors, type LatentColors } from "./preview.ts";
import type { Plan } from "../plan/compile.ts";
import {
  machineBytes,
  partOf,
  planStages,
  refuseBeyond,
  stagePlans,
  together,
  type Configs,
  type StageMemory,
  type StagePlanOptions,
} from "./requirements.ts";
import { adviceFrom, checkSettings, defaultSettings, latentFrames, settingsOf, type ModelRules, type Settings } from "./settings.ts";
import { StageClock } from "./stage-clock.ts";
import { checkFrames, checkInputs, DEFAULT_STRENGTH, framesWithin, taskOf, type Task } from "./task.ts";
import { textureOfFrame, texturesOfBuffer } from "./textures.ts";
import { Turns } from "./turns.ts";
import { rgbaFrames, Video, type RgbaFrame } from "./video.ts";

/** A generation as it was asked for, checked and completed. */
interface Run {
  readonly options: GenerateOptions;
  readonly tiling: TilingMode;
  readonly settings: Settings;
  readonly task: Task;
  readonly switches: ProfileSwitches;
  readonly shape: DenoiseShape;
  readonly scheduler: Scheduler;
  /** The steps that are run; of a run from a video the last ones of the schedule. */
  readonly steps: readonly StepCoefficients[];
  readonly generator: TorchGenerator;
  readonly loras: ReadonlyMap<string, readonly LoraChange[]> | undefined;
  readonly clock: StageClock;
}

/** What frames give to begin from, for each sample. */
interface Encoded {
  /** [n, F, C2, h, w] */
  readonly condition?: Float32Array;
  /** [n, F, C, h, w]: the video's latents, before noise. */
  readonly latents?: Float32Array;
}

/** What `requirements` is asked for. */
export type RequirementOptions = Partial<Settings> & Pick<GenerateOptions, "samples" | "tiling" | "profile"> & { task?: Task };

export class CogVideoX implements AsyncDisposable {
  #gpu: Gpu;
  readonly #ownsGpu: boolean;
  readonly #memoryBytes: number | undefined;
  /** How its own device was opened. */
  readonly #opened: OpenGpuOptions;

  private constructor(
    gpu: Gpu | { own: Gpu; opened: OpenGpuOptions },
    readonly checkpoint: Checkpoint,
    readonly configs: Configs,
    readonly rules: ModelRules,
    /** What `generate` does where it is not told otherwise: the checkpoint's advice, else the published one. */
    readonly defaults: Settings,
    readonly dtype: "f32" | "f16",
    private readonly keep: boolean,
    memoryBytes: number | undefined,
  ) {
    this.#memoryBytes = memoryBytes;
    this.#parts = new KeptParts(keep);
    this.#ownsGpu = "own" in gpu;
    this.#gpu = "own" in gpu ? gpu.own : gpu;
    this.#opened = "own" in gpu ? gpu.opened : {};
  }

  /** The device that it runs on; another one after a loss of the model's own. */
  get gpu(): Gpu {
    return this.#gpu;
  }

  readonly #parts: KeptParts;

  /**
   * Opens a checkpoint in diffusers' layout: a folder (Node), a URL, an id on the hub such as `org/name` or `org/name@revision`
   * (in Node its files are downloaded to the cache that all clients share), or a source. Weights are read when they are needed.
   */
  static async open(from: string | URL | CheckpointSource, options: OpenOptions = {}): Promise<CogVideoX> {
    const what = {
      only: ["text_encoder", "tokenizer", "transformer", "vae", "scheduler"],
      ...(options.variant ? { variant: options.variant } : {}),
      ...(options.configsOnly ? { configsOnly: true } : {}),
    };
    const checkpoint = await openCheckpoint(await openSource(from, { ...what, ...(options.hub ? { hub: options.hub } : {}) }), what);
    let gpu: Gpu | undefined;
    try {
      const { configs, rules } = readConfigs(checkpoint, options.onWarning);
      if (options.dtype !== undefined && options.dtype !== "f32" && options.dtype !== "f16")
        throw new CogwheelError(
          "generate",
          `dtype must be f32 or f16, got ${JSON.stringify(options.dtype)}; leave it out for the adapter's better one`,
        );
      const opened: OpenGpuOptions = defined({ adapter: options.adapter, tuning: options.tuning, onWarning: options.onWarning });
      gpu = options.gpu ?? (await Gpu.open(opened));
      if (options.dtype === "f16" && !gpu.caps.f16)
        throw new CogwheelError("generate", `dtype f16 needs an adapter with shader-f16, got ${gpu.name}; use f32 or another adapter`);
      const dtype = options.dtype ?? (gpu.caps.f16 && gpu.caps.kind === "hardware" ? "f16" : "f32");
      const advice = (await checkpoint.source.exists("generation.json"))
        ? adviceFrom(await readJson(checkpoint.source, "generation.json"))
        : {};
      const defaults = { ...defaultSettings(rules), ...advice };
      checkSettings(defaults, rules);
      return new CogVideoX(
        options.gpu ?? { own: gpu, opened },
        checkpoint,
        configs,
        rules,
        defaults,
        dtype,
        options.keep ?? false,
        options.memoryBytes,
      );
    } catch (error) {
      await checkpoint[Symbol.asyncDispose]();
      if (gpu && !options.gpu) await gpu[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The last answer of `requirements`: planning a published model takes some tenths of a second, and a command asks before `generate` does. */
  #planned: { key: string; tiling: TilingMode; stages: StageMemory[] } | undefined;

  /** What each stage will take on the adapter; computed from the configs alone, before anything is loaded. */
  requirements(options: RequirementOptions = {}): StageMemory[] {
    return this.#require(options).stages;
  }

  /** Requirements, and the tiling that they are for where none was asked for: none, or what the adapter can. */
  #require(options: RequirementOptions): { tiling: TilingMode; stages: StageMemory[] } {
    const { tiling } = options;
    const asked = this.#stageOptions(options);
    const key = JSON.stringify([asked, tiling]);
    if (this.#planned?.key === key) return this.#planned;
    const plan = (mode: TilingMode) => ({
      tiling: mode,
      stages: planStages(this.configs, this.gpu.caps, (name) => this.#types(name), { ...asked, tiling: mode }),
    });
    let made: { tiling: TilingMode; stages: StageMemory[] };
    try {
      made = plan(tiling ?? "none");
    } catch (error) {
      if (tiling !== undefined || !(error instanceof CogwheelError) || error.room === "tuning") throw error;
      made = plan("exact");
    }
    this.#planned = { key, ...made };
    return made;
  }

  /** The plans that the stages run by capability alone, which needs no weights: what `tune` measures the kernels of. */
  plans(options: RequirementOptions = {}): { stage: string; plans: Plan[] }[] {
    const { tuning: _, ...caps } = this.gpu.caps;
    return stagePlans(this.configs, caps, (name) => this.#types(name), {
      ...this.#stageOptions(options),
      tiling: this.#require(options).tiling,
    });
  }

  #stageOptions(options: RequirementOptions): Omit<StagePlanOptions, "tiling"> {
    const settings = { ...this.defaults, ...settingsOf(options) };
    checkSettings(settings, this.rules);
    const { samples = 1, task = this.rules.takes === "image or control" ? "image" : this.rules.takes } = options;
    checkFrames(settings.frames, task, this.rules);
    return {
      denoise: this.#denoiseShape(settings, samples, switchesOf(options.profile)),
      decodedLatents: latentFrames(settings.frames, this.rules.temporal),
      encodedFrames: task === "text" ? 0 : task === "image" ? 1 : settings.frames,
      spatial: this.rules.spatial,
      dtype: this.dtype,
    };
  }

  /** How a component's weights are stored: matrices as the model is, vectors in f32. A checkpoint may be without its weights yet. */
  #types(component: string): { type(name: string): "f32" | "f16" } {
    const { weights } = this.checkpoint.component(component);
    const expected = weights ? undefined : this.#expectedWeights().get(component);
    return {
      type: (name) => (this.dtype === "f16" && (weights?.get(name)?.shape ?? expected?.get(name) ?? []).length > 1 ? "f16" : "f32"),
    };
  }

  /**
   * A video from text, from an image, from another video, along a control video, or with parts of a video made anew; which of them a
   * checkpoint can follows from its config. Encode the prompt and the frames, denoise, decode, return.
   *
   * Options are read at the call: what is changed in them later is for the next one. The bytes of frames and latents are not copied and stay
   * as they are until the generation is over.
   */
  generate(options: GenerateOptions): Generation {
    return generation((emit) =>
      this.#turns.call(async () => {
        checkOptions(options);
        const { onStep, onFrames } = options;
        const asked: GenerateOptions = {
          ...listsOf(options),
          ...(onStep ? { onStep: (...step) => this.#turns.callback(() => onStep(...step)) } : {}),
          ...(onFrames ? { onFrames: (...frames) => this.#turns.callback(() => onFrames(...frames)) } : {}),
        };
        using _use = this.#parts.use();
        return await this.#turns.take(asked.signal, async (signal) => {
          using _turn = this.#parts.turn();
          return await this.#recovering({ ...asked, signal }, emit);
        });
      }),
    );
  }

  /** Generations of one model follow each other: its parts are there once, and memory was planned for one. */
  readonly #turns = new Turns("generate", "a model");

  /**
   * A device that was lost (a driver that was reset or updated, a laptop's GPU that was switched) is opened again, and the generation
   * goes on from its last step. Two losses without a step between them are one too many, and an app's own device is the app's to open.
   */
  async #recovering(options: GenerateOptions, emit: (step: GenerationStep) => void): Promise<Video> {
    const seed = options.seed ?? Math.floor(Math.random() * 2 ** 32);
    let start = options.start;
    for (let lostAt = -1; ; ) {
      try {
        return await this.#generate({ ...options, seed, ...(start === undefined ? {} : { start }) }, emit);
      } catch (error) {
        const reached = error instanceof GenerationInterrupted ? error.state.step : 0;
        if (!this.#ownsGpu || !this.gpu.lost || options.signal?.aborted || reached <= lostAt) throw error;
        lostAt = reached;
        if (error instanceof GenerationInterrupted) start = error.state;
        options.onWarning?.(
          `[generate] the GPU device was lost (${this.gpu.lost.message.trim() || this.gpu.lost.reason}); it is opened again, and the generation goes on from step ${reached}`,
        );
        await this.#reopen();
      }
    }
  }

  async #reopen(): Promise<void> {
    this.#parts.free();
    this.#planned = undefined; // another adapter may answer
    await this.gpu[Symbol.asyncDispose]();
    this.#gpu = await Gpu.open(this.#opened);
  }

  async #generate(options: GenerateOptions & { seed: number }, emit: (step: GenerationStep) => void): Promise<Video> {
    if (options.start !== undefined) checkStart(options.start);
    const given: DenoiseState | undefined =
      options.start instanceof Float32Array ? { step: 0, latents: options.start, givenNoise: true } : options.start;
    // A run that goes on brings what its frames gave along, and needs them no more.
    const resumed = given && given.step > 0 && given.task ? given.task : undefined;
    const task = resumed ?? taskOf(options, this.rules);
    const settings = this.settingsFor(options, task);
    if (!resumed) checkInputs(options, task, settings.frames);
    const { seed } = options;
    const switches = switchesOf(options.profile);
    const shape = this.#denoiseShape(settings, options.samples ?? 1, switches);
    const scheduler = createScheduler(this.checkpoint.component("scheduler").config, settings.scheduler);
    const first = task === "video" ? firstStep(settings.steps, options.strength ?? DEFAULT_STRENGTH) : 0;
    const steps = scheduler.steps(settings.steps, first);
    if (given) checkState(given, this.#latentsShape(shape), steps);
    this.#checkWeights(task, options.preview);
    const tiling = this.#refuseIfTooLarge(settings, options, task);
    if (tiling === "exact" && !options.tiling)
      options.onWarning?.(
        `[generate] ${settings.width} × ${settings.height} is too large for the VAE on this adapter at once: it works part by part through the host's memory, with the same result`,
      );
    const loras = await this.#loras(options.loras);
    const run: Run = {
      options,
      tiling,
      settings,
      task,
      switches,
      shape,
      scheduler,
      steps,
      generator: new TorchGenerator(seed),
      loras,
      clock: new StageClock(options.onProgress),
    };

    let latents: Float32Array;
    if (given && given.step === steps.length)
      latents = given.latents; // what is done is decoded again, which needs no prompt
    else {
      const text = await this.#encodePrompt(run);
      latents = await this.#denoise(run, text, await this.#start(run, given), emit);
    }
    const { samples, textures } = await this.#decode(run, latents).catch((error: unknown) => {
      throw new GenerationInterrupted({ step: steps.length, latents, task }, steps.length, error);
    });
    return new Video(
      samples,
      { ...settings, seed, prompt: options.prompt },
      { step: steps.length, latents, task },
      run.clock.seconds,
      textures,
    );
  }

  /** The settings of a generation: what is asked for, completed by the checkpoint's advice; a video's or control video's length where no frames are asked for. */
  settingsFor(options: Partial<Settings> & Pick<GenerateOptions, "image" | "video" | "control">, task: Task): Settings {
    const settings: Settings = { ...this.defaults, ...settingsOf(options) };
    const input = options.video ?? options.control;
    if (input && options.frames === undefined) settings.frames = framesWithin(input.length, settings, task, this.rules);
    checkSettings(settings, this.rules);
    checkFrames(settings.frames, task, this.rules);
    return settings;
  }

  #denoiseShape(settings: Settings, samples: number, switches: ProfileSwitches): DenoiseShape {
    const { transformer } = this.configs;
    const frames = latentFrames(settings.frames, this.rules.temporal);
    const { patchSizeT } = this.rules;
    const conditionChannels = transformer.in_channels - this.configs.vae.latent_channels;
    return {
      samples,
      frames: Math.ceil(frames / patchSizeT) * patchSizeT,
      height: settings.height / this.rules.spatial,
      width: settings.width / this.rules.spatial,
      textLength: textLength(switches, transformer),
      guidance: settings.guidance > 1,
      stochastic: settings.scheduler === "dpm",
      ...(conditionChannels ? { conditionChannels } : {}),
    };
  }

  #latentsShape({ samples, frames, height, width }: DenoiseShape): number[] {
    return [samples, frames, this.configs.vae.latent_channels, height, width];
  }

  /** Everything that is missing in any component is told at once, before any of them is loaded. */
  #checkWeights(task: Task, preview = false): void {
    const expected = this.#expectedWeights(task === "text" && !preview ? ["decode"] : ["encode", "decode"]);
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
    if (wrong.length) {
      const [first, ...lines] = wrong.flatMap((error) => error.message.replace(/^\[checkpoint\] /, "").split("\n"));
      throw new CogwheelError("checkpoint", first!, { cause: wrong, lines });
    }
  }

  /** Shapes of all weights, by component. */
  #expectedWeights(parts?: readonly ("encode" | "decode")[]): Map<string, ReadonlyMap<string, readonly number[]>> {
    return new Map([
      ["text_encoder", expectedT5Weights(this.configs.text)],
      ["transformer", transformerWeights(this.configs.transformer)],
      ["vae", vaeWeights(this.configs.vae, parts)],
    ]);
  }

  #refuseIfTooLarge(settings: Settings, { samples, tiling, profile }: GenerateOptions, task: Task): TilingMode {
    // Planning alone finds tensors and bindings that no buffer of this adapter holds, on any adapter. How much memory a GPU has
    // free WebGPU does not tell; a CPU adapter takes the machine's, and so does exact tiling.
    const planned = this.#require({ ...settings, ...defined({ samples, tiling, profile }), task });
    const lighter = this.dtype === "f32" && this.gpu.caps.f16 ? "dtype f16" : undefined;
    const limit = this.#memoryBytes;
    // Parts that are kept lie beside each other; what of them is there already is no longer free.
    const stages = this.keep ? [together(planned.stages)] : planned.stages;
    const coming = this.keep ? [together(planned.stages.filter((s) => !this.#parts.has(partOf(s.stage))))] : planned.stages;
    if (limit !== undefined) {
      const most = stages.reduce((a, b) => (b.total > a.total ? b : a));
      if (most.total > limit)
        throw new CogwheelError(
          "generate",
          `the ${most.stage} takes ${bytesText(most.total)} of the adapter's memory (weights ${bytesText(most.weights)}, activations ${bytesText(most.activations + most.io)}), got a limit of ${bytesText(limit)} in memoryBytes; choose a smaller size${lighter ? `, fewer frames or ${lighter}` : " or fewer frames"}`,
        );
    }
    const worst = coming.reduce((a, b) => (machineBytes(b, this.gpu.caps) > machineBytes(a, this.gpu.caps) ? b : a));
    refuseBeyond(availableMemoryBytes(), "generate", `the ${worst.stage}`, worst, this.gpu.caps, lighter);
    return planned.tiling;
  }

  /** Frees what `keep` keeps, at once or when the generation is over that is under way; the next one loads it again. */
  release(): void {
    this.#parts.release();
  }

  /** Adapters as changes of this transformer's weights, read and checked before anything is loaded. */
  async #loras(inputs: readonly LoraInput[] | undefined): Promise<Map<string, LoraChange[]> | undefined> {
    if (!inputs?.length) return undefined;
    const adapters: LoraAdapter[] = [];
    for (const { adapter, scale = 1 } of inputs) {
      const named = typeof adapter === "string" || adapter instanceof URL;
      const loaded = named
        ? await this.#parts.adapter(String(adapter), () => loadLora(adapter))
        : adapter instanceof Uint8Array
          ? await loadLora(adapter)
          : adapter;
      adapters.push({ ...loaded, scale });
    }
    const shapes = transformerWeights(this.configs.transformer);
    const { loraChanges } = await import("../models/lora/changes.ts");
    return loraChanges(adapters, shapes.keys(), (name) => shapes.get(name));
  }

  async #weights(component: Component, options: GenerateOptions): Promise<ComponentWeights> {
    const weights = await ComponentWeights.open(component, this.dtype, options.signal ? { signal: options.signal } : {});
    if (weights.kept.length) options.onWarning?.(keptMessage(component.name, weights.kept));
    return weights;
  }

  /** [2n or n, T, E]: with guidance the negative prompts first. The text encoder is gone again before the transformer is loaded. */
  async #encodePrompt({ options, shape, clock }: Run): Promise<Float32Array> {
    const length = shape.textLength;
    const tokenizer = await T5Tokenizer.open(this.checkpoint.source);
    const texts = shape.guidance ? [options.negative ?? "", options.prompt] : [options.prompt];
    const ids = new Int32Array(texts.length * length);
    texts.forEach((text, i) => {
      const encoded = tokenizer.encode(text, length);
      if (encoded.cut !== null)
        options.onWarning?.(
          `[generate] a prompt may have ${length} tokens; cut off: ${JSON.stringify(encoded.cut.slice(0, CUT))}${encoded.cut.length > CUT ? ` and ${encoded.cut.length - CUT} characters more` : ""}`,
        );
      ids.set(encoded.ids, i * length);
    });
    const component = this.checkpoint.component("text_encoder");
    using held = await clock.time("load text encoder", (report) =>
      this.#parts.hold("text_encoder", `${texts.length} × ${length}`, async () => {
        const weights = await this.#weights(component, options);
        return await T5Encoder.create(this.gpu, this.configs.text, weights, {
          batch: texts.length,
          length,
          dtype: this.dtype,
          ...loading(options, report),
        });
      }),
    );
    const encoded = await clock.time("encode prompt", (report) => held.part.encode(ids, { ...running(options), onProgress: report }));
    expectFinite(encoded, "generate", "what the text encoder makes of the prompt", CHECK_FINITE);
    return repeatEach(encoded, texts.length, shape.samples);
  }

  /**
   * The state before the first step. Draws come from one generator in the order of diffusers' pipelines: the posterior of the
   * image or video, then the starting noise, then the sampler's.
   */
  async #start(run: Run, given: DenoiseState | undefined): Promise<DenoiseState> {
    const { generator, shape, scheduler, steps, task } = run;
    const encoded = await this.#encodeFrames(run, given);
    const size = this.#latentsShape(shape);
    // A run that goes on has drawn its noise already, unless that was given.
    const noise = given && (given.givenNoise || given.step === 0) ? given.latents : generator.randn(size);
    const { latents: clean } = encoded;
    const kept = {
      task,
      ...(encoded.condition ? { condition: encoded.condition } : {}),
      ...(given?.givenNoise ? { givenNoise: true } : {}),
    };
    if (given && given.step > 0) return { ...given, ...kept };
    if (!clean) return { step: 0, latents: noise, ...kept };
    const mix = scheduler.addNoise(steps[0]!.timestep);
    return { step: 0, latents: noise.map((n, i) => clean[i]! * mix.original + n * mix.noise), ...kept };
  }

  async #encodeFrames(run: Run, given: DenoiseState | undefined): Promise<Encoded> {
    const { options, task, shape, settings, generator, clock, switches } = run;
    if (task === "text") return {};
    const { vae: config } = this.configs;
    const { samples, frames, height, width } = shape;
    const channels = config.latent_channels;
    const latentsOf = task === "image" ? 1 : latentFrames(settings.frames, this.rules.temporal);
    // Control and inpainting take the posterior's mode, which draws nothing.
    const draws =
      task === "image" || task === "video"
        ? Array.from({ length: samples }, () => generator.randn([1, channels, latentsOf, height, width]))
        : [];
    if (given && given.step > 0) return given.condition ? { condition: given.condition } : {};

    const size = { width: settings.width, height: settings.height, ...(options.fit ? { fit: options.fit } : {}) };
    const inpaint = task === "inpaint" ? inpaintFrames(options, settings.frames, size) : undefined;
    const pixels =
      inpaint?.video ??
      fitFrames(task === "image" ? [options.image!] : (options.video ?? options.control)!.slice(0, settings.frames), size);
    const shapeIn = { batch: 1, frames: task === "image" ? 1 : settings.frames, height: settings.height, width: settings.width };
    const tiling = run.tiling === "none" ? {} : { tiling: run.tiling };
    using held = await clock.time("load encoder", (report) => this.#holdVae(run, "encode", shapeIn, report));
    const vae = held.part;
    const posterior = await clock.time("encode frames", (report) =>
      vae.encode(pixels, shapeIn, { ...running(options), ...tiling, onProgress: report }),
    );
    if (posterior.shape[3] !== height || posterior.shape[4] !== width)
      throw new CogwheelError(
        "generate",
        `reference tiling of this VAE encodes ${settings.width} × ${settings.height} pixels as ${posterior.shape[4]} × ${posterior.shape[3]} latents in place of ${width} × ${height}, for its overlaps do not come out even; choose another size or tiling exact`,
      );
    if (task === "image") return { condition: imageCondition(posterior, draws, imageScale(config, switches.invertedImageScale), frames) };
    if (task === "video")
      return { latents: concat(draws.map((noise) => fromVae(posterior.sample(noise), posterior.shape, config.scaling_factor))) };
    const mode = fromVae(posterior.mode(), posterior.shape, config.scaling_factor);
    if (!inpaint) return { condition: concat(Array.from({ length: samples }, () => mode)) };
    const one = inpaintCondition(
      mode,
      inpaint.kept,
      { frames, channels, height, width, videoFrames: settings.frames, videoHeight: settings.height, videoWidth: settings.width },
      config.scaling_factor,
    );
    return { condition: concat(Array.from({ length: samples }, () => one)) };
  }

  async #denoise(run: Run, text: Float32Array, start: DenoiseState, emit: (step: GenerationStep) => void): Promise<Float32Array> {
    const { options, settings, shape, steps, switches, generator, loras, clock } = run;
    const colors = options.preview ? (this.#colors ??= await this.#probeColors(run)) : undefined;
    const size = start.latents.length;
    // The same generator goes on drawing as the reference does, whichever step the run starts from.
    let drawn = 0;
    const noise = (step: number): Float32Array => {
      let last: Float32Array = new Float32Array(size);
      for (; drawn <= step; drawn++) for (let d = 0; d < steps[drawn]!.draws; d++) last = generator.randn([size]);
      return last;
    };
    using held = await clock.time("load transformer", async (report) => {
      const { transformer } = this.configs;
      const shapes = transformerWeights(transformer);
      // Kept weights stay as they are, with adapters beside them; weights that go anyway are changed themselves.
      const live = this.keep && loras ? new LoraWeights(loras, (name) => shapes.get(name)) : undefined;
      const held = await this.#parts.hold("transformer", JSON.stringify(shape), async () => {
        const weights = await this.#weights(this.checkpoint.component("transformer"), options);
        const provider = loras && !live ? withLoras(weights, loras) : weights;
        return await Denoiser.create(this.gpu, transformer, provider, shape, {
          dtype: this.dtype,
          ...(live ? { loras: live } : {}),
          ...loading(options, report),
        });
      });
      if (this.keep) await held.part.setLoras(live, loading(options, report));
      return held;
    });
    const denoiser = held.part;
    let state = start;
    return await clock.time("denoise", async (report) => {
      const began = performance.now();
      let last = began;
      try {
        return await denoiser.run({
          ...running(options),
          start,
          text,
          steps,
          noise,
          guidanceScale: options.dynamicGuidance
            ? (i) => dynamicGuidanceAt(switches, settings.guidance, steps.length, i, steps[i]!.timestep)
            : settings.guidance,
          onStep: async (reached) => {
            const before = state.latents;
            state = reached;
            report(reached.step / steps.length, `step ${reached.step} of ${steps.length}`);
            const now = performance.now();
            emit({
              step: reached.step,
              steps: steps.length,
              state: reached,
              seconds: (now - last) / 1000,
              secondsLeft: ((now - began) / 1000 / (reached.step - start.step)) * (steps.length - reached.step),
              preview: (sample = 0) => {
                if (!colors) return [];
                const clean = cleanLatents(before, reached, steps[reached.step - 1]!);
                const size = clean.length / shape.samples;
                return previewFrames(
                  clean.subarray(sample * size, (sample + 1) * size),
                  { ...shape, channels: this.configs.vae.latent_channels, skip: this.#padding(run) },
                  colors,
                );
              },
            });
            last = now;
            await options.onStep?.(reached, steps.length);
          },
        });
      } catch (error) {
        throw state.step > start.step ? new GenerationInterrupted(state, steps.length, error) : error;
      }
    });
  }

  /** How this checkpoint's latents look, for previews; asked once. */
  #colors: LatentColors | undefined;

  async #probeColors({ options, clock }: Run): Promise<LatentColors> {
    return await clock.time("prepare preview", async () => {
      using vae = CausalVae.create(this.gpu, this.configs.vae, await this.#weights(this.checkpoint.component("vae"), options), {
        dtype: this.dtype,
      });
      return await probeColors(vae, options.signal);
    });
  }

  /** Latent frames in front that are dropped before decoding. */
  #padding({ settings, shape }: Run): number {
    return shape.frames - latentFrames(settings.frames, this.rules.temporal);
  }

  /** The VAE, prepared for a size where it takes pictures whole. */
  async #holdVae(
    { options, tiling }: Run,
    part: "encode" | "decode",
    size: VideoShape,
    report: (done: number) => void,
  ): Promise<Held<CausalVae>> {
    const held = await this.#parts.hold("vae", "", async () =>
      CausalVae.create(this.gpu, this.configs.vae, await this.#weights(this.checkpoint.component("vae"), options), { dtype: this.dtype }),
    );
    try {
      if (tiling === "none")
        await held.part.prepare(part, size, { ...(part === "decode" ? { format: "rgba" as const } : {}), ...loading(options, report) });
      return held;
    } catch (error) {
      held[Symbol.dispose]();
      throw error;
    }
  }

  /** One sample after another: batches would need as much more memory, and are no faster. */
  async #decode(run: Run, latents: Float32Array): Promise<{ samples: RgbaFrame[][]; textures: GPUTexture[][] }> {
    const { options, settings, shape, clock } = run;
    const { vae: config } = this.configs;
    const wanted = latentFrames(settings.frames, this.rules.temporal);
    const size = { batch: 1, frames: wanted, height: shape.height, width: shape.width };
    const z = toVae(latents, { ...shape, channels: config.latent_channels, skip: this.#padding(run) }, 1 / config.scaling_factor);
    using held = await clock.time("load decoder", (report) => this.#holdVae(run, "decode", size, report));
    return await clock.time("decode", async (report) => {
      const samples: RgbaFrame[][] = [];
      const textures: GPUTexture[][] = [];
      try {
        for (let n = 0; n < shape.samples; n++) {
          const one = z.subarray((n * z.length) / shape.samples, ((n + 1) * z.length) / shape.samples);
          const kept: GPUTexture[] = [];
          if (options.textures) textures.push(kept);
          const frames = await this.#decodeSample(run, held.part, one, size, n, kept, (done) => report((n + done) / shape.samples));
          if (!options.textures) samples.push(frames);
        }
      } catch (error) {
        for (const texture of textures.flat()) texture.destroy();
        throw error;
      }
      return { samples, textures };
    });
  }

  /** One sample's frames: returned, or, where textures are wanted, put into `kept`. */
  async #decodeSample(
    { options, settings, tiling }: Run,
    vae: CausalVae,
    z: Float32Array,
    size: VideoShape,
    sample: number,
    kept: GPUTexture[],
    onProgress: (done: number) => void,
  ): Promise<RgbaFrame[]> {
    const run = { ...running(options), onProgress };
    if (options.textures && tiling === "none") {
      await vae.decode(z, size, {
        ...run,
        onDevice: (part) => {
          kept.push(...texturesOfBuffer(this.gpu, part));
        },
      });
      return [];
    }
    const frames: RgbaFrame[] = [];
    if (tiling === "reference") {
      frames.push(...rgbaFrames(await vae.decode(z, size, { ...run, tiling })));
      const { width, height } = frames[0]!;
      if (width !== settings.width || height !== settings.height)
        throw new CogwheelError(
          "generate",
          `reference tiling of this VAE gives ${width} × ${height} pixels in place of ${settings.width} × ${settings.height}, for its overlaps do not come out even; choose another size or tiling none`,
        );
      await options.onFrames?.(frames, 0, sample);
      return frames;
    }
    await vae.decode(z, size, {
      ...run,
      format: "rgba",
      ...(tiling === "exact" ? { tiling } : {}),
      onFrames: async ({ start, frames: count, height, width, data }: DecodedFrames) => {
        const part = Array.from({ length: count }, (_, f) => ({
          width,
          height,
          data: (data as Uint8Array).subarray(f * width * height * 4, (f + 1) * width * height * 4),
        }));
        if (options.textures) kept.push(...part.map((frame) => textureOfFrame(this.gpu, frame)));
        else frames.push(...part);
        await options.onFrames?.(part, start, sample);
      },
    });
    return frames;
  }

  /** Ends what is under way, and frees everything. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#turns.end();
    this.#parts.free();
    await this.checkpoint[Symbol.asyncDispose]();
    if (this.#ownsGpu) await this.gpu[Symbol.asyncDispose]();
  }
}

/** The options with lists of their own. */
function listsOf(options: GenerateOptions): GenerateOptions {
  const { video, control, mask, loras } = options;
  const own = <T>(list: readonly T[] | undefined): readonly T[] | undefined => (Array.isArray(list) ? [...list] : list);
  return {
    ...options,
    ...defined({ video: own(video), control: own(control), mask: own(mask), loras: loras?.map((lora) => ({ ...lora })) }),
  };
}

/** What a caller gives to go on from is looked at before anything is loaded. */
function checkStart(start: Float32Array | DenoiseState): void {
  if (ArrayBuffer.isView(start) || Array.isArray(start)) {
    expectFloats(start, "generate", "start");
    return;
  }
  if (typeof start !== "object" || start === null)
    throw new CogwheelError(
      "generate",
      `start must be a Float32Array of noise or the state of a run, got ${String(start)}; leave it out for a draw from the seed`,
    );
  for (const name of ["latents", "original", "condition"] as const)
    if (name === "latents" || start[name] !== undefined) expectFloats(start[name], "generate", `${name} of start`);
}

/** Of a prompt's end that was cut off, so many characters are told. */
const CUT = 300;

/** Each of `parts` equal parts, `times` times one after another. */
function repeatEach(data: Float32Array, parts: number, times: number): Float32Array {
  if (times === 1) return data;
  const size = data.length / parts;
  return concat(
    Array.from({ length: parts * times }, (_, i) => data.subarray(Math.floor(i / times) * size, (Math.floor(i / times) + 1) * size)),
  );
}

function concat(parts: readonly Float32Array[]): Float32Array {
  const out = new Float32Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

const running = ({ signal, gpuProfile: profile, checkFinite }: GenerateOptions) => defined({ signal, profile, checkFinite });
const loading = ({ signal }: GenerateOptions, report: (done: number) => void) => ({
  ...defined({ signal }),
  onProgress: (done: number, total: number) => report(total ? done / total : 1),
});
