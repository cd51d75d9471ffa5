/** The public class `CogVideoX`: open a checkpoint, ask it for videos. */
import { KEEPS_TABLES } from "#platform";
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import type { CheckpointSource } from "../../sources/source.ts";
import { CogwheelError } from "../../base/errors.ts";
import type { Gpu, OutOfMemory } from "../../gpu/gpu.ts";
import type { MeasuredRates } from "../../gpu/rates.ts";
import { parseSchedulerConfig, type SchedulerConfig } from "../../diffusion/config.ts";
import type { TransformerConfig } from "../../models/cogvideox/config.ts";
import type { DenoiseState } from "../../models/cogvideox/model.ts";
import { TIED_T5_WEIGHTS } from "../../models/t5/weights.ts";
import { digest } from "../../gpu/tuning-table.ts";
import type { Plan } from "../../plan/compile.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import type { WeightProvider } from "../../run/weight-provider.ts";
import { generation, type Generation, type Generations, type GenerationStep } from "../generation.ts";
import { KeptParts } from "../kept-parts.ts";
import { nameOf } from "../made-with.ts";
import { Opened } from "../opened.ts";
import { recovering } from "../recover.ts";
import { checkNames, type GenerateOptions, type OpenOptions } from "../options.ts";
import { expectOption } from "../options/check.ts";
import type { StageMemory } from "../requirements.ts";
import { completed, type ModelRules, type Settings } from "../settings.ts";
import type { Task } from "../task.ts";
import { Turns } from "../turns.ts";
import type { Video } from "../video.ts";
import { beyondVocabulary, type Vocabulary } from "../vocabulary.ts";
import { components, ggufFiles, type Configs, type Part } from "./components.ts";
import { readAdvice, readConfigs } from "./configs.ts";
import { generate, runOf } from "./generate.ts";
import { encodePrompt } from "./prompt.ts";
import type { Run } from "./running.ts";
import { leastBytes, lowerLimit } from "./memory.ts";
import { checkpointFiles, type Model, weightTypes } from "./model.ts";
import type { Encoders } from "./encoders.ts";
import type { Probed } from "./probed.ts";
import { stageTimes, withSeconds, type StageTime } from "./seconds.ts";
import type { PromptsOptions } from "./prompts.ts";
import { ownOptions, prepare, type GenerationRequest } from "./request.ts";
import { requiredSizes, settingsFor, type RequirementOptions } from "./sizes.ts";
import { Planner } from "./planner.ts";
import type { ClipPlanner } from "./share.ts";
import { stagesOf } from "./stages.ts";

const OPEN: readonly (keyof OpenOptions)[] = [
  ...(["gpu", "adapter", "tuning", "dtype", "variant", "transformer", "textEncoder", "vae"] as const),
  ...(["configsOnly", "weightsOf", "hub", "keep", "memoryBytes", "onWarning"] as const),
];

/** A CogVideoX checkpoint on a device: it makes videos, and says beforehand what they take. Throws `CogwheelError`. */
export class CogVideoX implements AsyncDisposable {
  readonly #opened: Opened;
  readonly #model: Model;
  readonly #planner = new Planner();
  /** Generations of one model follow each other: its parts are there once, and memory was planned for one. */
  readonly #turns = new Turns("generate", "a model");

  private constructor(
    opened: Opened,
    { keep = false, memoryBytes }: OpenOptions,
    readonly configs: Configs,
    readonly rules: ModelRules,
    /** What `generate` does where it is not told otherwise: the checkpoint's advice, else the published one. */
    readonly defaults: Settings,
    vocabulary: Vocabulary | undefined,
  ) {
    this.#opened = opened;
    this.#model = {
      get gpu() {
        return opened.gpu;
      },
      name: nameOf(opened.checkpoint.source.label),
      dtype: opened.dtype,
      configs,
      rules,
      defaults,
      vocabulary,
      files: checkpointFiles(opened, configs),
      parts: new KeptParts(keep),
      memoryBytes,
    };
  }

  /** The device that it runs on; another one after a loss of the model's own. */
  get gpu(): Gpu {
    return this.#opened.gpu;
  }

  get checkpoint(): Checkpoint {
    return this.#opened.checkpoint;
  }

  get dtype(): "f32" | "f16" {
    return this.#opened.dtype;
  }

  /**
   * Opens a checkpoint in diffusers' layout: a folder (Node), a URL, an id on the hub such as `org/name` or `org/name@revision`
   * (in Node its files are downloaded to the cache that all clients share), or a source. Without a name it is the embedded model, which
   * comes with the package. Weights are read when they are needed.
   */
  static async open(from?: string | URL | CheckpointSource, options: OpenOptions = {}): Promise<CogVideoX> {
    checkNames(options, OPEN, "generate");
    return await Opened.open(from, options, {
      room: "generate",
      family: "CogVideoX",
      only: Object.keys(components),
      tied: TIED_T5_WEIGHTS,
      quantizes: true,
      gguf: ggufFiles,
      read: (checkpoint) => readConfigs(checkpoint, options.onWarning),
      make: async (opened, { configs, rules }) => {
        const { defaults, vocabulary } = await readAdvice(opened.checkpoint, rules);
        if (options.memoryBytes !== undefined) expectOption("memoryBytes", options.memoryBytes);
        const model = new CogVideoX(opened, options, configs, rules, defaults, vocabulary);
        if (KEEPS_TABLES) {
          const { keptRates } = await import("../../gpu/rates.ts");
          model.useRates(await keptRates(opened.gpu.tuningHeader, model.probeKey, opened.checkpoint.source.label));
        }
        return model;
      },
    });
  }

  /** What a small model, which knows a few words only, says of a prompt with others; `generate` says it by `onWarning`. */
  promptAdvice(prompt: string): string | undefined {
    const { vocabulary } = this.#model;
    return vocabulary && beyondVocabulary(prompt, vocabulary);
  }

  /**
   * What each stage will take on the adapter: bytes, and seconds where `measureRates` has measured. Computed from the configs alone, before
   * anything is loaded.
   */
  requirements(options: RequirementOptions = {}): StageMemory[] {
    if (options.memoryBytes !== undefined) expectOption("memoryBytes", options.memoryBytes);
    const { requirements } = this.#planner.plan(this.#model, requiredSizes(this.#model, options), options.tiling, options.memoryBytes);
    const { rates } = this.#model;
    return withSeconds(requirements, rates && this.times(rates, options));
  }

  /**
   * The smallest `memoryBytes` that a generation can be planned within. @param only these stages of it; default: all
   * @param clips where the VAE's work is shared out over workers
   */
  leastMemoryBytes(options: RequirementOptions = {}, only?: ReadonlySet<string>, clips?: ClipPlanner): number {
    const { stages } = this.#planner.plan(this.#model, requiredSizes(this.#model, options), options.tiling, options.memoryBytes, clips);
    return leastBytes(only ? stages.filter(({ stage }) => only.has(stage)) : stages);
  }

  /**
   * How long each stage of a generation will take on this adapter, from rates that `measureRates` measured here: computed from the configs
   * alone, before anything is loaded. @param of a request that was prepared, or what `requirements` takes
   */
  times(rates: MeasuredRates, of: GenerationRequest | RequirementOptions = {}): StageTime[] {
    const model = this.#model;
    if ("plan" in of) {
      const { plan, tiling, options } = of;
      const { stages, sizes } = plan;
      const steps = plan.steps.length - (plan.given?.step ?? 0);
      return stageTimes(model, { tiling, stages }, sizes, { steps, samples: options.samples ?? 1 }, rates);
    }
    const sizes = requiredSizes(model, of);
    const stages = this.#planner.plan(model, sizes, of.tiling, of.memoryBytes);
    return stageTimes(model, stages, sizes, { steps: completed(this.defaults, of).steps, samples: of.samples ?? 1 }, rates);
  }

  /** How fast this model runs here, where that was measured. @internal */
  get rates(): MeasuredRates | undefined {
    return this.#model.rates;
  }

  /** How fast this model runs here: what was measured before, or now. @internal */
  useRates(rates: MeasuredRates | undefined): void {
    this.#model.rates = rates;
  }

  /** What a probe measures of this model; a chunk of its own, which most pages never load. @internal */
  async probed(): Promise<Probed> {
    const { Probed } = await import("./probed.ts");
    return new Probed(this.#model, this.#planner);
  }

  /** The text encoder and the VAE by themselves, for training; a chunk of its own, which most pages never load. @internal */
  async encoders(): Promise<Encoders> {
    const { Encoders } = await import("./encoders.ts");
    return new Encoders(this.#model, this.#planner);
  }

  /** What rates were measured for: the kernels that run follow from the configs, the type, and what was tuned. */
  get probeKey(): string {
    const { text, transformer, vae } = this.configs;
    const { num_layers: _, ...layer } = transformer;
    return digest(JSON.stringify([this.dtype, this.#opened.quantized ?? null, text.d_model, layer, vae, this.gpu.caps.tuning ?? null]));
  }

  /** For training: the transformer by itself, with the schedule that it was trained on. Its weights are read when they are needed. */
  async transformer(signal?: AbortSignal): Promise<{ config: TransformerConfig; scheduler: SchedulerConfig; weights: WeightProvider }> {
    return {
      config: this.configs.transformer,
      scheduler: parseSchedulerConfig(this.#model.files.scheduler),
      weights: await this.#model.files.weights("transformer", signal ? { signal } : {}),
    };
  }

  /** The VAE by itself, for parts of clips that others share out. Its weights are read when they are needed. @internal */
  async vae(signal?: AbortSignal): Promise<{ config: VaeConfig; weights: WeightProvider }> {
    return { config: this.configs.vae, weights: await this.#model.files.weights("vae", signal ? { signal } : {}) };
  }

  /** How the transformer's weights are stored on the adapter: for plans, which need no weights. @internal */
  get transformerTypes(): Pick<WeightProvider, "type"> {
    return weightTypes(this.#model, "transformer");
  }

  /** The plans that the stages run by capability alone, which needs no weights: what `tune` measures the kernels of. */
  plans(options: RequirementOptions = {}): { stage: string; plans: readonly Plan[] }[] {
    const { tuning: _, ...caps } = this.gpu.caps;
    const sizes = requiredSizes(this.#model, options);
    const { tiling } = this.#planner.plan(this.#model, sizes, options.tiling);
    const { stages } = stagesOf(this.#model, sizes, tiling, { caps, limit: undefined, memo: new Map() });
    return stages.map(({ stage, plans }) => ({ stage, plans: plans() }));
  }

  /**
   * The settings of a generation: what is asked for, completed by the checkpoint's advice; a video's or control
   * video's length where no frames are asked for.
   */
  settingsFor(options: Partial<Settings> & Pick<GenerateOptions, "image" | "video" | "control">, task: Task): Settings {
    return settingsFor(this.#model, options, task);
  }

  /**
   * Checks and completes a generation without running it: its task and settings, whether every weight is there, what it will take and
   * whether that fits. Reads adapters, and loads nothing else. Throws what `generate` would throw before it loads anything.
   */
  async prepare(options: GenerateOptions): Promise<GenerationRequest> {
    return await prepare(this.#model, this.#planner, ownOptions(options));
  }

  /**
   * A video from text, from an image, from another video, along a control video, or with parts of a video made anew; which of them a
   * checkpoint can follows from its config. Encode the prompt and the frames, denoise, decode, return. What `prepare` gave is run as it is.
   *
   * Generations of one model follow each other in the order of the calls: memory was planned for one. One that waits says so by
   * `onProgress("queued", 0)`, and by `("queued", 1)` when its turn has come.
   *
   * Options are read at the call: what is changed in them later is for the next one. The bytes of frames and latents are not copied and
   * stay as they are until the generation is over.
   *
   * With `prompts` it makes a video of each, in their order and in one turn: the encoder is loaded once for all, and what else has room
   * stays between videos. A seed is the same for all; without one each draws its own.
   */
  generate(asked: GenerateOptions | GenerationRequest): Generation;
  generate(asked: PromptsOptions): Generations;
  generate(asked: GenerateOptions | GenerationRequest | PromptsOptions = {} as GenerateOptions): Generation | Generations {
    if ("prompts" in asked) return generation<Video, readonly Video[]>((emit) => this.#turns.call(() => this.#several(asked, emit)));
    return generation<GenerationStep, Video>((emit) => this.#turns.call(() => this.#inTurn(asked, (run) => generate(run, emit))));
  }

  /**
   * What the transformer reads of a prompt [2, T, E], the negative one first, without guidance [1, T, E]: `promptEmbeds` of generations
   * with the same texts, here or where no text encoder is. Only the text encoder's weights must be there.
   */
  async encodePrompt(asked: GenerateOptions): Promise<Float32Array> {
    const one = { ...asked };
    delete one.samples;
    return await this.#turns.call(() => this.#inTurn(one, encodePrompt, true));
  }

  async #inTurn<T>(asked: GenerateOptions | GenerationRequest, work: (run: Run) => Promise<T>, promptOnly = false): Promise<T> {
    const prepared = "plan" in asked ? asked : undefined;
    if (prepared && prepared.model !== this.#model)
      throw new CogwheelError(
        "generate",
        "a request must be of the model that runs it, got one that another model prepared; prepare it here",
      );
    const options = "plan" in asked ? { ...asked.options, seed: asked.seed } : ownOptions(asked);
    using _use = this.#model.parts.use();
    return await this.#turns.take(
      options.signal,
      async (signal) => {
        using _turn = this.#model.parts.turn();
        // What was planned for a device that is gone since is planned anew.
        const request = prepared?.plan.gpu === this.gpu ? prepared : await prepare(this.#model, this.#planner, options, { promptOnly });
        if (request !== prepared) for (const warning of request.warnings) options.onWarning?.(warning);
        return await this.#run(request, signal, work);
      },
      (done) => options.onProgress?.("queued", done),
    );
  }

  /** Does a request's work; a device that is lost, or memory that runs out, is dealt with. */
  async #run<T>(request: GenerationRequest, signal: AbortSignal, work: (run: Run) => Promise<T>): Promise<T> {
    const run = async (request: GenerationRequest) => {
      const options = this.#heard(request.options, signal);
      const overall = options.onProgress ? (await import("./expected.ts")).overallOf(request) : undefined;
      return await work(runOf(request, options, overall));
    };
    return await recovering(this.#opened, request, { signal, onWarning: request.options.onWarning }, run, {
      reopen: (lost, state) => this.#reopened(lost, state),
      lower: (heavy, state, error) => this.#lowered(heavy, state, error),
    });
  }

  async #several(asked: PromptsOptions, emit: (video: Video) => void): Promise<readonly Video[]> {
    const { prompts, ...rest } = asked;
    if (!Array.isArray(prompts) || prompts.length === 0 || "prompt" in rest)
      throw new CogwheelError(
        "generate",
        "prompts must be a list of texts in place of prompt, " +
          `got ${"prompt" in rest ? "both" : JSON.stringify(prompts)}; give one text as prompt, or several as prompts`,
      );
    const { prompt: _, ...own } = ownOptions({ ...rest, prompt: prompts[0]! });
    const options = { ...own, prompts: [...prompts] };
    using _use = this.#model.parts.use();
    return await this.#turns.take(
      options.signal,
      async (signal) => {
        using _turn = this.#model.parts.turn();
        const { generateEach } = await import("./prompts.ts");
        const prepareOne = (one: GenerateOptions) => prepare(this.#model, this.#planner, one);
        const run = (request: GenerationRequest, text: Float32Array) =>
          this.#run(request, signal, (run) => generate({ ...run, text }, () => undefined));
        return await generateEach({ model: this.#model, signal, options, prepare: prepareOne, run }, emit);
      },
      (done) => options.onProgress?.("queued", done),
    );
  }

  /** Options whose callbacks end with the model. */
  #heard(options: GenerateOptions, signal: AbortSignal): GenerateOptions {
    const { onStep, onFrames } = options;
    return {
      ...options,
      signal,
      ...(onStep ? { onStep: (...step) => this.#turns.callback(() => onStep(...step)) } : {}),
      ...(onFrames ? { onFrames: (...frames) => this.#turns.callback(() => onFrames(...frames)) } : {}),
    };
  }

  async #reopened({ options, seed, plan: { promptOnly } }: GenerationRequest, state: DenoiseState | undefined): Promise<GenerationRequest> {
    this.#model.parts.free();
    await this.#opened.reopen();
    return await prepare(this.#model, this.#planner, { ...options, seed, ...(state ? { start: state } : {}) }, { promptOnly });
  }

  /** The generation within less memory than it ran out of, and those that come after it too. */
  async #lowered(request: GenerationRequest, state: DenoiseState | undefined, error: OutOfMemory): Promise<GenerationRequest | undefined> {
    if (this.#model.parts.keep) return undefined;
    const { options, seed, plan } = request;
    const start = state ? { start: state } : {};
    // What stayed for the next video goes first.
    if (this.#model.parts.freeAwhile()) return await prepare(this.#model, this.#planner, { ...options, seed, ...start }, plan);
    const done = state?.step === plan.steps.length;
    const limit = lowerLimit(done ? plan.stages.filter(({ stage }) => stage === "decoder") : plan.stages, error.allocated);
    if (limit === undefined) return undefined;
    // What is too little for the decoder alone is no limit for what follows.
    if (!done) this.#model.memoryBytes = limit;
    return await prepare(this.#model, this.#planner, { ...options, seed, memoryBytes: limit, ...start }, plan);
  }

  /**
   * These stay on the adapter from one generation to the next, until what this returns is disposed of or memory runs short. A transformer
   * must not that has adapters: they are in its weights. @internal
   */
  keepAwhile(parts: readonly Part[]): Disposable {
    return this.#model.parts.keepAwhile(parts);
  }

  /** Frees what `keep` keeps, at once or when the generation is over that is under way; the next one loads it again. */
  release(): void {
    this.#model.parts.release();
  }

  /** Ends what is under way, and frees everything: what `await using` does at the end of its block. */
  close(): Promise<void> {
    return this[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#turns.end();
    this.#model.parts.free();
    await this.#opened[Symbol.asyncDispose]();
  }
}
