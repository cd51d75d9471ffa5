/**
 * Takes training steps of a transformer on a device. Parameters, the optimizer's means and the average are states that all programs share;
 * a program is compiled for every size of batch that comes, and kept. What a step depends on (rate, corrections, noise levels) is written
 * before each run, so nothing else is compiled.
 */
import { CogwheelError } from "../base/errors.ts";
import type { SchedulerConfig } from "../diffusion/config.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { Graph } from "../graph/graph.ts";
import type { TransformerConfig } from "../models/cogvideox/config.ts";
import { PositionTables } from "../models/cogvideox/packed.ts";
import { UPDATE } from "../ops/gradient_norm.ts";
import { compile, type CompileOptions, type Plan } from "../plan/compile.ts";
import { Arenas, sharedArenas } from "../run/arenas.ts";
import { fitting } from "../run/misfit.ts";
import { Program } from "../run/program.ts";
import { States } from "../run/states.ts";
import { WeightStore } from "../run/weight-store.ts";
import type { WeightProvider } from "../run/weight-provider.ts";
import { type Batch, type BatchShape, NoiseLevels } from "./batch.ts";
import { firstLossScale, type LossScaleState, nextLossScale } from "./loss-scale.ts";
import { emaDecay, optimizerOf, type OptimizerOptions, updateSettings } from "./optimizer.ts";
import { initialise } from "./initial-values.ts";
import { mean, type Micro, type MicroBatch, microOf } from "./micro-batch.ts";
import type { Trained } from "./parameters.ts";
import { type Checkpointing, lossGraph, microGraph, type Recipe, stepGraph, updateGraph } from "./record.ts";

/** A transformer that can be trained. */
export interface TrainingModel {
  readonly config: TransformerConfig;
  readonly scheduler: SchedulerConfig;
  readonly weights: WeightProvider;
}

export interface TrainerOptions {
  readonly trained: Trained;
  readonly optimizer?: OptimizerOptions;
  /** Gradients above this norm are scaled down to it. Default: none are. */
  readonly maxGradNorm?: number;
  /** Keeps a moving average of the parameters. */
  readonly ema?: { readonly decay: number };
  /** Micro-steps of a step, whose gradients are added up. Default 1. */
  readonly accumulation?: number;
  /** Storage type of activations that f16 can hold. Default f32. */
  readonly dtype?: "f32" | "f16";
  /** Default `attention`. */
  readonly checkpointing?: Checkpointing;
  /** How frozen weights lie on the device. */
  readonly compile?: CompileOptions;
}

export interface StepReport {
  /** The mean over micro-steps of the mean over clips. */
  readonly loss: number;
  /** Of each clip of each micro-step. */
  readonly losses: readonly Float32Array[];
  /** Of all gradients, before they were clipped. */
  readonly gradNorm: number;
  /** False where gradients were not finite: nothing has changed then. */
  readonly taken: boolean;
  readonly lossScale: number;
  /** Operations of the step, as planned. */
  readonly flops: number;
}

/** What the next step depends on besides the states. */
export interface TrainerProgress {
  /** Updates that were made. */
  readonly updates: number;
  /** Undefined before the first step. */
  readonly lossScale?: LossScaleState | undefined;
}

export class Trainer implements Disposable {
  readonly #levels: NoiseLevels;
  readonly #recipe: Recipe;
  readonly #store: WeightStore;
  readonly states: States;
  /** By size, the one used last at the end; and the update of several micro-steps. */
  readonly #plans = new Map<string, Plan>();
  readonly #programs = new Map<string, Program>();
  #arenas: Arenas | undefined;
  /** Bytes of each arena. */
  #room: readonly number[] = [];
  #updates = 0;
  /** Begins with the first step. */
  #lossScale: LossScaleState | undefined;
  readonly #tables = new PositionTables();

  private constructor(
    private readonly gpu: Gpu,
    private readonly model: TrainingModel,
    private readonly options: TrainerOptions,
    recipe: Recipe,
    states: States,
    store: WeightStore,
  ) {
    this.#levels = new NoiseLevels(model.scheduler);
    this.#recipe = recipe;
    this.#store = store;
    this.states = states;
  }

  /** Parameters begin with the checkpoint's values, or what `trained` gives. */
  static async create(gpu: Gpu, model: TrainingModel, options: TrainerOptions, signal?: AbortSignal): Promise<Trainer> {
    const { dtype = "f32", trained, checkpointing = "attention", ema, accumulation = 1, maxGradNorm } = options;
    if (!Number.isInteger(accumulation) || accumulation < 1)
      throw new CogwheelError("training", `accumulation must be a whole number of micro-steps from 1, got ${accumulation}`);
    if (maxGradNorm !== undefined && !(maxGradNorm > 0))
      throw new CogwheelError("training", `maxGradNorm must be a number above 0, got ${maxGradNorm}; leave it out for no clipping`);
    if (ema && !(ema.decay >= 0 && ema.decay < 1))
      throw new CogwheelError("training", `the average's decay must be from 0 to below 1, got ${ema.decay}; 0.9999 is usual`);
    const optimizer = optimizerOf(options.optimizer);
    const recipe: Recipe = {
      config: model.config,
      weights: model.weights,
      dtype,
      trained,
      checkpointing,
      optimizer,
      average: ema !== undefined,
    };
    // The smallest clip has the same states as any other.
    const smallest = smallestShape(model.config);
    const like = accumulation === 1 ? [stepGraph(recipe, smallest)] : withUpdate(recipe, microGraph(recipe, smallest));
    const states = new States(
      gpu,
      like.map((graph) => ({ graph })),
    );
    const store = new WeightStore(gpu, model.weights);
    const trainer = new Trainer(gpu, model, options, recipe, states, store);
    try {
      await initialise(gpu, model.weights, trained, states, signal);
      return trainer;
    } catch (error) {
      trainer[Symbol.dispose]();
      throw error;
    }
  }

  get progress(): TrainerProgress {
    return { updates: this.#updates, lossScale: this.#lossScale };
  }

  /** Goes on from what another trainer of the same options had come to; its states are written by the caller. */
  set progress({ updates, lossScale }: TrainerProgress) {
    this.#updates = updates;
    this.#lossScale = lossScale;
  }

  /** One step: as many batches as there are micro-steps, in their order. @param lr the step's learning rate */
  async step(batches: readonly MicroBatch[], lr: number, signal?: AbortSignal): Promise<StepReport> {
    const { accumulation = 1, maxGradNorm = Infinity, ema } = this.options;
    if (batches.length !== accumulation)
      throw new CogwheelError("training", `a step takes ${accumulation} batches, got ${batches.length}; give one for each micro-step`);
    const micros = batches.map(microOf);
    for (const micro of micros) micro.check(this.model.config, this.#levels.count);
    this.#lossScale ??= firstLossScale(
      this.#recipe.dtype,
      micros.reduce((n, { values }) => n + values, 0),
    );
    const { scale } = this.#lossScale;
    const update = updateSettings(this.#recipe.optimizer, {
      update: this.#updates,
      lr,
      maxNorm: maxGradNorm,
      lossScale: scale,
      emaDecay: ema ? emaDecay(ema.decay, this.#updates) : 0,
    });
    const run = { ...(signal ? { signal } : {}) };
    const parts: Promise<Float32Array>[] = [];
    let last: Program;
    if (accumulation === 1) {
      last = await this.#program(micros[0]!);
      await last.run({ ...run, inputs: { ...this.#inputs(micros[0]!, scale), update } });
      parts.push(last.read("loss", signal));
    } else {
      for (const [i, micro] of micros.entries()) {
        const program = await this.#program(micro);
        await program.run({ ...run, inputs: { ...this.#inputs(micro, scale), begun: Float32Array.of(Math.min(i, 1), 0, 0, 0) } });
        // The copy is queued before the next micro-step writes there.
        parts.push(program.read("loss", signal));
      }
      last = await this.#updater(micros[0]!.key);
      await last.run({ ...run, inputs: { update } });
    }
    const [control, ...losses] = (await Promise.all([last.read("control", signal), ...parts])) as [Float32Array, ...Float32Array[]];
    const taken = control[UPDATE.taken] === 1;
    this.#lossScale = nextLossScale(this.#lossScale, this.#recipe.dtype, taken, control[UPDATE.notFinite]!);
    if (taken) this.#updates++;
    // A pack has room for more clips than it may hold.
    const clips = losses.map((all, i) => all.subarray(0, micros[i]!.timesteps.length));
    return {
      loss: mean(clips.map((each, i) => micros[i]!.loss(each))),
      losses: clips,
      gradNorm: control[UPDATE.norm]!,
      taken,
      lossScale: scale,
      flops: [...micros.map(({ key }) => key), ...(accumulation === 1 ? [] : ["update"])].reduce(
        (sum, key) => sum + this.#plans.get(key)!.cost.flops,
        0,
      ),
    };
  }

  /** The loss of a batch that nothing is learned from. */
  async lossOf(batch: Batch, signal?: AbortSignal): Promise<number> {
    const { config } = this.model;
    const micro = microOf(batch);
    micro.check(config, this.#levels.count);
    const program = await this.#made(`loss of ${micro.key}`, () => lossGraph(this.#recipe, batch.shape));
    const inputs = micro.inputs(config, this.#levels, { micros: 1, lossScale: 1, tables: this.#tables });
    await program.run({ inputs, ...(signal ? { signal } : {}) });
    return micro.loss((await program.read("loss", signal)) as Float32Array);
  }

  /** Frees what programs have on the device; they are made again when they are asked for. States stay. */
  release(): void {
    this.#forget();
  }

  #inputs(micro: Micro, lossScale: number): Record<string, Float32Array | Uint32Array> {
    const { accumulation: micros = 1 } = this.options;
    return micro.inputs(this.model.config, this.#levels, { micros, lossScale, tables: this.#tables });
  }

  #program({ key, shape }: Micro): Promise<Program> {
    const record = (this.options.accumulation ?? 1) === 1 ? stepGraph : microGraph;
    return this.#made(key, () => record(this.#recipe, shape));
  }

  /** @param of a micro-step's graph, which has been made */
  #updater(of: string): Promise<Program> {
    return this.#made("update", () => updateGraph(this.#recipe, this.#plans.get(of)!.graph));
  }

  /** The program of a graph, made when it is first asked for; again where its weights turn out not to fit f16. */
  async #made(key: string, record: () => Graph): Promise<Program> {
    const found = this.#programs.get(key);
    if (found) return found;
    return await fitting(
      async () => {
        const plan = this.#plans.get(key) ?? compile(record(), this.gpu.caps, this.options.compile ?? {});
        this.#plans.set(key, plan);
        const program = await Program.create(this.gpu, plan, this.#store, { states: this.states, arenas: this.#roomFor(plan) });
        for (const name of plan.graph.inputs.keys()) {
          const values = this.options.trained.input(name);
          if (values) program.write(name, values);
        }
        this.#programs.set(key, program);
        return program;
      },
      () => this.#forget(),
    );
  }

  /** Activations of all programs lie in the same memory, for they never run at once. */
  #roomFor(plan: Plan): Arenas {
    const fits = plan.memory.arenas.every((bytes, i) => bytes <= (this.#room[i] ?? 0));
    if (this.#arenas && fits) return this.#arenas;
    this.#free();
    const plans = [...this.#plans.values()];
    this.#room = sharedArenas(plans);
    return (this.#arenas = new Arenas(this.gpu, plans));
  }

  #free(): void {
    for (const program of this.#programs.values()) program[Symbol.dispose]();
    this.#programs.clear();
    this.#arenas?.[Symbol.dispose]();
    this.#arenas = undefined;
  }

  #forget(): void {
    this.#free();
    this.#plans.clear();
  }

  [Symbol.dispose](): void {
    this.#free();
    this.states[Symbol.dispose]();
    this.#store[Symbol.dispose]();
  }
}

const withUpdate = (recipe: Recipe, micro: Graph): Graph[] => [micro, updateGraph(recipe, micro)];

/** Of one patch, with the text length that positions want. */
const smallestShape = (c: TransformerConfig): BatchShape => ({
  clips: 1,
  frames: c.patch_size_t ?? 1,
  height: c.use_learned_positional_embeddings ? c.sample_height : c.patch_size,
  width: c.use_learned_positional_embeddings ? c.sample_width : c.patch_size,
  textLength: c.max_text_seq_length,
});
