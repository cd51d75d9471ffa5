/** The denoising loop: transformer, guidance and scheduler step as one graph, replayed for every step. */
import { CogwheelError } from "../../base/errors.ts";
import { CHECK_FINITE, expectFinite } from "../../base/finite.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import { compile, type CompileOptions, type Plan } from "../../plan/compile.ts";
import { elements } from "../../graph/dtype.ts";
import { Graph } from "../../graph/graph.ts";
import { fitting } from "../../run/misfit.ts";
import { Program, type RunOptions } from "../../run/program.ts";
import { planFor, WeightStore, type LoadOptions } from "../../run/weight-store.ts";
import type { WeightProvider } from "../../run/weight-provider.ts";
import type { TransformerConfig } from "./config.ts";
import type { Partner, SeparateBranches } from "./branches.ts";
import { isLoraName, type LoraWeights } from "../lora/merge.ts";
import { factorWeight, type LiveLoras } from "./linear.ts";
import { recordTransformer } from "./forward.ts";
import { schedulerStep } from "../../ops/scheduler_step.ts";
import { coefficientVector, type StepCoefficients } from "../../diffusion/scheduler.ts";
import type { DenoiseState } from "./denoise-state.ts";

export type { DenoiseState } from "./denoise-state.ts";

/** `ofs` of every published checkpoint that has the embedding. */
const OFS = 2;

export interface DenoiseShape {
  /** Videos at once. */
  samples: number;
  /** Latent frames, rows and columns. */
  frames: number;
  height: number;
  width: number;
  /** Text tokens of each prompt. */
  textLength: number;
  /** With guidance the batch doubles: negative prompts first. */
  guidance: boolean;
  /** Does the scheduler draw fresh noise in its steps (DPM)? */
  stochastic: boolean;
  /** With guidance: do its two branches go through each layer one after the other? That takes less memory for activations. */
  apart?: boolean;
  /** With guidance: is each of its two branches a run of its own (branches.ts)? */
  separate?: boolean;
  /** Channels of an image's or control video's latents, concatenated after the noise's. */
  conditionChannels?: number;
}

export interface DenoiseOptions extends Omit<RunOptions, "inputs" | "onProgress"> {
  /** [n, F, C, H, W] of standard noise, or a state to go on from. */
  start: Float32Array | DenoiseState;
  /** [B, T, E]: with guidance negative prompts first, B = 2n. */
  text: Float32Array;
  steps: readonly StepCoefficients[];
  /** The scale, or one for each step. */
  guidanceScale: number | ((step: number) => number);
  /** Fresh noise for step i, in the order of the steps. Only asked for steps that use it. */
  noise?: (step: number) => Float32Array;
  /** [n, F, C2, H, W] */
  condition?: Float32Array;
  /** Another device that computes one branch of guidance, where the shape has them separate. */
  partner?: Partner;
  /** After each step; awaited. */
  onStep?: (state: DenoiseState) => void | Promise<void>;
}

/** The inputs that take the text: of both branches of guidance in one, or of each by itself. */
const textInputs = ({ guidance, apart, separate }: DenoiseShape): readonly string[] =>
  guidance && apart && !separate ? ["text.negative", "text.positive"] : ["text"];

export function denoiseGraph(
  config: TransformerConfig,
  provider: Pick<WeightProvider, "type">,
  s: DenoiseShape,
  dtype: "f32" | "f16",
  loras?: LiveLoras,
): Graph {
  const graph = new Graph("denoise", (name) => provider.type(name));
  const channels = config.in_channels - (s.conditionChannels ?? 0);
  const shape = [s.samples, s.frames, channels, s.height, s.width];
  const texts = textInputs(s);
  const batch = s.samples * (s.guidance && !s.separate ? 2 / texts.length : 1);
  const latents = s.separate ? graph.input("latents", shape) : graph.state("latents", shape);
  // DPM: the clean latents as they looked in the step before.
  const old = s.stochastic && !s.separate ? graph.state("old", shape) : undefined;
  const prediction = recordTransformer(
    graph,
    config,
    {
      latents,
      text: texts.map((name) => graph.input(name, [batch, s.textLength, config.text_embed_dim])),
      timestep: graph.input("timestep", [batch]),
      ...(s.conditionChannels
        ? { condition: graph.input("condition", [s.samples, s.frames, s.conditionChannels, s.height, s.width]) }
        : {}),
      ...(config.ofs_embed_dim !== null ? { ofs: graph.constant("ofs", new Float32Array(batch).fill(OFS)) } : {}),
    },
    dtype,
    loras,
  );
  if (s.separate) {
    graph.output("prediction", prediction);
    return graph;
  }
  const next = graph.scope("scheduler", () =>
    schedulerStep({
      sample: latents,
      prediction,
      coefficients: graph.input("coefficients", [8]),
      ...(old ? { oldSample: old, noise: graph.input("noise", shape) } : {}),
    }),
  );
  graph.update(latents, next.sample);
  if (old) graph.update(old, next.original);
  return graph;
}

/** Throws unless the steps that are left can be taken from here. `shape` is the latents' [n, F, C, H, W]. */
export function checkState({ step, latents, original }: DenoiseState, shape: readonly number[], steps: readonly StepCoefficients[]): void {
  const size = elements(shape);
  if (latents.length !== size)
    throw new CogwheelError(
      "denoise",
      `latents must be [${shape.join(", ")}] = ${size} values for this size and these frames, ` +
        `got ${latents.length}; give the size and frames they were made for`,
    );
  if (!Number.isInteger(step) || step < 0 || step > steps.length)
    throw new CogwheelError("denoise", `a run goes on from step 0 to ${steps.length}, got ${step}; ask for as many steps as it began with`);
  const got = original === undefined ? "none" : original.length === size ? undefined : `${original.length}`;
  if (got && step > 0 && step < steps.length && steps[step]!.oldStep !== 0)
    throw new CogwheelError(
      "denoise",
      `this scheduler goes on from the clean latents of the step before too (${size} values of "original"), ` +
        `got ${got}; go on with the scheduler that the run began with`,
    );
}

export interface DenoiserOptions extends LoadOptions, CompileOptions {
  /** Storage type of activations that f16 can hold. Default f32. */
  dtype?: "f32" | "f16";
  /** Adapters that are added while the model runs; `setLoras` changes them. */
  loras?: LoraWeights;
  /**
   * Its plan on this adapter without such adapters, where one was made already; one for
   * weights that are stored otherwise is made again. It says which weights are streamed, with adapters too.
   */
  plan?: Plan;
}

export class Denoiser implements Disposable {
  #program: Program;
  #loras: LoraWeights | undefined;
  #adapters: WeightStore | undefined;
  /** The scheduler's step, where the branches of guidance are runs of their own. */
  #branches: SeparateBranches | undefined;

  private constructor(
    readonly shape: DenoiseShape,
    private readonly gpu: Gpu,
    private readonly config: TransformerConfig,
    private readonly weights: WeightStore,
    private readonly dtype: "f32" | "f16",
    made: Made,
  ) {
    this.#program = made.program;
    this.#adapters = made.adapters;
    this.#branches = made.branches;
    this.#loras = made.loras;
  }

  get plan(): Plan {
    return this.#program.plan;
  }

  static async create(
    gpu: Gpu,
    config: TransformerConfig,
    provider: WeightProvider,
    shape: DenoiseShape,
    { dtype = "f32", loras, plan, stream, slots, ...load }: DenoiserOptions = {},
  ): Promise<Denoiser> {
    const weights = new WeightStore(gpu, provider);
    const streaming = plan?.options ?? { ...(stream ? { stream } : {}), ...(slots !== undefined ? { slots } : {}) };
    try {
      const made = await build(gpu, config, weights, shape, dtype, loras, load, streaming, plan);
      return new Denoiser(shape, gpu, config, weights, dtype, made);
    } catch (error) {
      weights[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Other adapters, or none. The model's own weights stay where they are; other factors of
   * the same adapters change nothing but numbers.
   */
  async setLoras(loras: LoraWeights | undefined, load: LoadOptions = {}): Promise<void> {
    if (loras?.sameMatrices(this.#loras) ?? this.#loras === undefined) {
      if (loras) writeFactors(this.#program, loras);
      this.#loras = loras;
      return;
    }
    this.#take(await build(this.gpu, this.config, this.weights, this.shape, this.dtype, loras, load, this.plan.options));
  }

  #take({ program, adapters, branches, loras }: Made): void {
    this.#program[Symbol.dispose]();
    this.#adapters?.[Symbol.dispose]();
    this.#branches?.[Symbol.dispose]();
    this.#branches = branches;
    this.#program = program;
    this.#adapters = adapters;
    this.#loras = loras;
  }

  /** Runs the steps that are left and resolves to the latents [n, F, C, H, W]. */
  async run(options: DenoiseOptions): Promise<Float32Array> {
    const { text, steps, guidanceScale, noise, onStep, partner, ...run } = options;
    const asked: DenoiseState = options.start instanceof Float32Array ? { step: 0, latents: options.start } : options.start;
    const start = (await partner?.join?.()) ?? asked;
    const condition = options.condition ?? start.condition;
    const { graph } = this.plan;
    const { shape: want } = (graph.states.get("latents") ?? graph.inputs.get("latents"))!;
    const size = elements(want);
    if (start.step >= steps.length)
      throw new CogwheelError("denoise", `a run must have steps left, got ${start.step} done of ${steps.length}; ask for more steps`);
    checkState(start, want, steps);
    const { shape } = this;
    if (shape.conditionChannels) {
      const wanted = this.plan.graph.inputs.get("condition")!.shape;
      if (condition?.length !== elements(wanted))
        throw new CogwheelError(
          "denoise",
          `this checkpoint needs condition [${wanted.join(", ")}] beside the noise, ` +
            `got ${condition ? `${condition.length} values` : "none"}; encode the image or the control video`,
        );
    }
    const texts = textInputs(shape);
    let latents = start.latents;
    let original = shape.stochastic ? (start.original ?? new Float32Array(size)) : undefined;
    const give = (): void => {
      const program = this.#program;
      program.write("latents", latents);
      if (!shape.separate)
        for (const [i, name] of texts.entries())
          program.write(name, text.subarray((i * text.length) / texts.length, ((i + 1) * text.length) / texts.length));
      if (shape.conditionChannels) program.write("condition", condition!);
      if (original && !shape.separate) program.write("old", original);
    };
    give();
    for (let i = start.step; i < steps.length; i++) {
      run.signal?.throwIfAborted();
      const step = steps[i]!;
      const scale = typeof guidanceScale === "number" ? guidanceScale : guidanceScale(i);
      const inputs: Record<string, Float32Array> = {
        timestep: new Float32Array(this.plan.graph.inputs.get("timestep")!.size).fill(step.timestep),
        coefficients: coefficientVector(step, scale),
      };
      // A step without noise multiplies what lies there, which is of another step, with 0.
      if (shape.stochastic && step.noiseStep !== 0) {
        const draw = noise?.(i);
        if (!draw) throw new CogwheelError("denoise", `this scheduler needs noise in step ${i + 1}, got none; pass a noise function`);
        inputs["noise"] = draw;
      }
      /** One run of the program, which is built again where it did not fit. */
      const runWith = (given: Record<string, Float32Array>, last: boolean) =>
        fitting(
          () => this.#program.run({ ...run, inputs: given, ...(last ? {} : { next: this.#program }) }),
          async () => {
            const { signal } = run;
            const again = [this.gpu, this.config, this.weights, shape, this.dtype, this.#loras, signal ? { signal } : {}] as const;
            this.#take(await build(...again, this.plan.options));
            give();
          },
        );
      const isLast = i + 1 === steps.length;
      if (this.#branches) {
        const state = { step: i, latents, ...(original ? { original } : {}), ...(condition ? { condition } : {}) };
        const predict = async (given: Record<string, Float32Array>, last: boolean): Promise<Float32Array> => {
          await runWith(given, isLast && last);
          return await this.#program.read("prediction", run.signal);
        };
        ({ latents, original } = await this.#branches.step({ state, text, inputs, partner, predict }, run));
      } else {
        await runWith(inputs, isLast);
        latents = await this.#program.read("latents", run.signal);
        if (original) original = await this.#program.read("old", run.signal);
      }
      for (const values of original ? [latents, original] : [latents])
        expectFinite(values, "denoise", `the latents after step ${i + 1} of ${steps.length}`, CHECK_FINITE);
      await onStep?.({
        step: i + 1,
        latents,
        ...(original ? { original } : {}),
        ...(condition ? { condition } : {}),
        ...(start.givenNoise ? { givenNoise: true } : {}),
        ...(start.task ? { task: start.task } : {}),
      });
    }
    return latents;
  }

  [Symbol.dispose](): void {
    this.#program[Symbol.dispose]();
    this.#branches?.[Symbol.dispose]();
    this.#adapters?.[Symbol.dispose]();
    this.weights[Symbol.dispose]();
  }
}

type Made = Awaited<ReturnType<typeof buildOnce>>;

/** A program on the model's weights; those of the adapters are in a store of their own, and go with them. */
const build = (...of: Parameters<typeof buildOnce>): ReturnType<typeof buildOnce> => fitting(() => buildOnce(...of));

async function buildOnce(
  gpu: Gpu,
  config: TransformerConfig,
  weights: WeightStore,
  shape: DenoiseShape,
  dtype: "f32" | "f16",
  loras: LoraWeights | undefined,
  load: LoadOptions,
  streaming: CompileOptions,
  planned?: Plan,
) {
  const plan =
    (loras ? undefined : planFor(planned, weights.provider)) ??
    compile(denoiseGraph(config, weights.provider, shape, dtype, loras), gpu.caps, streaming);
  // A chunk of its own: most runs have their branches together.
  const separate = shape.separate ? await import("./branches.ts") : undefined;
  const finish = async (program: Program) => {
    try {
      const { shape: latents } = (plan.graph.states.get("latents") ?? plan.graph.inputs.get("latents"))!;
      return { program, branches: await separate?.SeparateBranches.create(gpu, latents, shape.stochastic, weights) };
    } catch (error) {
      program[Symbol.dispose]();
      throw error;
    }
  };
  if (!loras) return { ...(await finish(await Program.create(gpu, plan, weights, load))), adapters: undefined, loras };
  await weights.load(
    [...plan.weights.values()].filter(({ names }) => !names.some(isLoraName)),
    { what: `preparing ${plan.graph.name}`, ...load },
  );
  const adapters = new WeightStore(gpu, loras.provider(weights.provider), weights);
  try {
    const made = await finish(await Program.create(gpu, plan, adapters, load));
    writeFactors(made.program, loras);
    return { ...made, adapters, loras };
  } catch (error) {
    adapters[Symbol.dispose]();
    throw error;
  }
}

function writeFactors(program: Program, loras: LoraWeights): void {
  for (const name of program.plan.graph.inputs.keys()) {
    const weight = factorWeight(name);
    if (weight) program.write(name, loras.factors(weight));
  }
}
