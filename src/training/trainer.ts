/**
 * Takes training steps of a transformer on a device. Parameters, the optimizer's means and the average are states that all programs share;
 * a program is compiled for every size of batch that comes, and kept.
 */
import type { SchedulerConfig } from "../diffusion/config.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { TransformerConfig } from "../models/cogvideox/config.ts";
import { PositionTables } from "../models/cogvideox/packed.ts";
import type { CompileOptions } from "../plan/compile.ts";
import { States } from "../run/states.ts";
import { WeightStore } from "../run/weight-store.ts";
import type { WeightProvider } from "../run/weight-provider.ts";
import { type Batch, type BatchShape, NoiseLevels } from "./batch.ts";
import { optimizerOf, type OptimizerOptions } from "./optimizer.ts";
import { initialise } from "./initial-values.ts";
import { mean, type Micro, type MicroBatch, microOf } from "./micro-batch.ts";
import type { Trained } from "./parameters.ts";
import { type MicroWorkers, SharedMicros } from "./micro-workers.ts";
import { Programs } from "./programs.ts";
import { priorClips, withPriorLearning } from "./prior/batch.ts";
import type { Prior } from "./prior/options.ts";
import { type Checkpointing, lossGraph, microStep, type Recipe, untrainedGraph } from "./record.ts";
import { Stepper, type StepperProgress } from "./stepper.ts";

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
  /** Compute the gradients of micro-steps in place of this device. */
  readonly workers?: MicroWorkers;
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

export type TrainerProgress = StepperProgress;

export class Trainer implements Disposable {
  readonly #levels: NoiseLevels;
  readonly #programs: Programs;
  readonly #stepper: Stepper;
  readonly #tables = new PositionTables();

  private constructor(
    private readonly model: TrainingModel,
    private readonly recipe: Recipe,
    readonly states: States,
    private readonly store: WeightStore,
    programs: Programs,
    stepper: Stepper,
    private readonly shared: SharedMicros | undefined,
  ) {
    this.#levels = new NoiseLevels(model.scheduler);
    this.#programs = programs;
    this.#stepper = stepper;
  }

  /** Parameters begin with the checkpoint's values, or what `trained` gives. */
  static async create(gpu: Gpu, model: TrainingModel, options: TrainerOptions, signal?: AbortSignal): Promise<Trainer> {
    const { dtype = "f32", trained, checkpointing = "attention", compile, workers } = options;
    const optimizer = optimizerOf(options.optimizer);
    const recipe: Recipe = {
      config: model.config,
      weights: model.weights,
      dtype,
      trained,
      checkpointing,
    };
    // The smallest clip has the same states as any other.
    const apart = workers ? { apart: true } : {};
    const like = Stepper.graphsOf(microStep(recipe, smallestShape(model.config)), { ...options, optimizer }, apart);
    const states = new States(
      gpu,
      like.map((graph) => ({ graph })),
    );
    const store = new WeightStore(gpu, model.weights);
    const programs = new Programs(gpu, store, states, { ...(compile ? { compile } : {}), input: (name) => trained.input(name) });
    try {
      const stepper = new Stepper(programs, { ...options, optimizer, dtype });
      await initialise(gpu, model.weights, trained, states, signal);
      const shared = workers && new SharedMicros(gpu, programs, states, like[0], workers);
      return new Trainer(model, recipe, states, store, programs, stepper, shared);
    } catch (error) {
      for (const held of [programs, states, store]) held[Symbol.dispose]();
      throw error;
    }
  }

  get progress(): TrainerProgress {
    return this.#stepper.progress;
  }

  /** Goes on from what another trainer of the same options had come to; its states are written by the caller. */
  set progress(progress: TrainerProgress) {
    this.#stepper.progress = progress;
  }

  /** One step: as many batches as there are micro-steps, in their order. @param lr the step's learning rate */
  async step(batches: readonly MicroBatch[], lr: number): Promise<StepReport> {
    const micros = batches.map(microOf);
    for (const micro of micros) micro.check(this.model.config, this.#levels.count);
    const inputs = (micro: Micro, lossScale: number) => this.#inputs(micro, micros.length, lossScale);
    const step = await this.#stepper.step(
      this.shared?.passes(
        micros.map((micro) => ({
          values: micro.values,
          task: (lossScale) => ({ shape: micro.shape, inputs: inputs(micro, lossScale) }),
        })),
      ) ??
        micros.map((micro) => ({
          key: micro.key,
          values: micro.values,
          record: () => microStep(this.recipe, micro.shape),
          inputs: (lossScale) => inputs(micro, lossScale),
        })),
      lr,
    );
    // A pack has room for more clips than it may hold.
    const losses = step.outputs.map(({ loss }, i) => loss!.subarray(0, micros[i]!.timesteps.length));
    const { gradNorm, taken, lossScale, flops } = step;
    return { loss: mean(losses.map((each, i) => micros[i]!.loss(each))), losses, gradNorm, taken, lossScale, flops };
  }

  #inputs(micro: Micro, micros: number, lossScale: number): Record<string, Float32Array | Uint32Array> {
    return micro.inputs(this.model.config, this.#levels, { micros, lossScale, tables: this.#tables });
  }

  /** The loss of a batch that nothing is learned from. */
  async lossOf(batch: Batch, signal?: AbortSignal): Promise<number> {
    const micro = microOf(batch);
    micro.check(this.model.config, this.#levels.count);
    const program = await this.#programs.get(`loss of ${micro.key}`, () => lossGraph(this.recipe, batch.shape));
    await program.run({ inputs: this.#inputs(micro, 1, 1), ...(signal ? { signal } : {}) });
    return micro.loss((await program.read("loss", signal)) as Float32Array);
  }

  /**
   * A micro-step whose prior clips count `weight`, and are learned as the checkpoint's own weights predict them, or as they are.
   * @param isPrior of each clip @returns also the operations that it took, as planned
   */
  async keeping(
    batch: MicroBatch,
    isPrior: readonly boolean[],
    { weight, target }: Pick<Prior, "weight" | "target">,
    signal?: AbortSignal,
  ): Promise<{ batch: MicroBatch; flops: number }> {
    const level = (timestep: number) => this.#levels.row(timestep, 1, 1).slice(0, 2) as unknown as readonly [number, number];
    if (target === "clips") return { batch: withPriorLearning(batch, isPrior, { weight, level }), flops: 0 };
    const prior = microOf(priorClips(batch, isPrior));
    prior.check(this.model.config, this.#levels.count);
    const program = await this.#programs.get(`untrained ${prior.key}`, () => untrainedGraph(this.recipe, prior.shape));
    await program.run({ inputs: this.#inputs(prior, 1, 1), ...(signal ? { signal } : {}) });
    const velocities = prior.velocities(this.model.config, await program.read("velocity", signal));
    return { batch: withPriorLearning(batch, isPrior, { weight, level, velocities }), flops: program.plan.cost.flops };
  }

  /** Frees what programs have on the device; they are made again when they are asked for. States stay. */
  release(): void {
    this.#programs.forget();
  }

  [Symbol.dispose](): void {
    for (const held of [this.#programs, this.states, this.store]) held[Symbol.dispose]();
  }
}

/** Of one patch, with the text length that positions want. */
const smallestShape = (c: TransformerConfig): BatchShape => ({
  clips: 1,
  frames: c.patch_size_t ?? 1,
  height: c.use_learned_positional_embeddings ? c.sample_height : c.patch_size,
  width: c.use_learned_positional_embeddings ? c.sample_width : c.patch_size,
  textLength: c.max_text_seq_length,
});
