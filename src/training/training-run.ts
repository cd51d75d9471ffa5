/** A run of training that is open on a device: its steps, what it is saved as, and what was learned. */
import { CogwheelError } from "../base/errors.ts";
import { TorchGenerator } from "../diffusion/torch-random.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { transformerWeights } from "../models/cogvideox/weights.ts";
import { batchesOf, type TrainingData } from "./batches.ts";
import { stateOnDevice } from "./checkpoint.ts";
import { dilocoOf } from "./diloco/options.ts";
import { ReplicasInTurn } from "./diloco/replica.ts";
import type { ReplicaStep } from "./diloco/replica-workers.ts";
import { Rounds } from "./diloco/rounds.ts";
import { componentFiles, type ExportOptions, loraFile, parameterValues } from "./export.ts";
import { fullParameters } from "./full.ts";
import { fromScratch, zeroAtFirst } from "./scratch.ts";
import type { GivenSample, StreamedSample } from "./training-sample.ts";
import { loraParameters, type TrainedLora } from "./lora.ts";
import { mean, type MicroBatch, microOf } from "./micro-batch.ts";
import type { GradientRecipe } from "./micro-workers.ts";
import { optimizerOf } from "./optimizer.ts";
import { checkOptions, identityOf, samplingOptions, type Trainable, type TrainingStep, type TrainOptions } from "./options.ts";
import { makePack, packedTokens, packsOf } from "./packing/packs.ts";
import type { Trained } from "./parameters.ts";
import { priorOf } from "./prior/options.ts";
import { rateShare } from "./schedule.ts";
import { heldOutBatch, makeBatch } from "./sample.ts";
import { StagedRun } from "./staged-run.ts";
import { type PlacedStage, stageSeed, stagesOf, stepsOf } from "./stages.ts";
import { type StepReport, Trainer, type TrainingModel } from "./trainer.ts";

/** What a step learns from: of each rank the batches of its micro-steps. */
type RankedMicros = readonly (readonly (readonly StreamedSample[])[])[];

/** What is trained, for those who compute its gradients. */
const recipeOf = (trained: Trained | TrainedLora, weights: Iterable<string>): GradientRecipe["trained"] =>
  "tensors" in trained
    ? { lora: { rank: trained.rank, alpha: trained.alpha, targets: trained.targets } }
    : { full: [...weights].filter((name) => trained.has([name])) };

function fullTraining(shapes: ReadonlyMap<string, readonly number[]>, full: NonNullable<TrainOptions["full"]>, scratch?: number): Trained {
  const trained = fullParameters(shapes.keys(), full === true ? undefined : full);
  return scratch === undefined ? trained : fromScratch(trained, { seed: scratch, weights: shapes, zero: zeroAtFirst });
}

export class TrainingRun implements Disposable {
  /** Operations of what prior clips are learned as, since the last step that was told. */
  #priorFlops = 0;

  private constructor(
    private readonly gpu: Gpu,
    private readonly model: TrainingModel,
    private readonly data: TrainingData,
    private readonly options: TrainOptions,
    private readonly trained: Trained | TrainedLora,
    private readonly trainer: Trainer,
    private readonly staged: StagedRun,
    private readonly rounds: Rounds | undefined,
  ) {}

  static async open(from: Trainable, data: TrainingData, options: TrainOptions): Promise<TrainingRun> {
    checkOptions(options);
    const { gpu } = from;
    const model = "generate" in from ? await from.transformer(options.signal) : from;
    const dtype = options.dtype ?? ("dtype" in from ? from.dtype : "f32");
    const shapes = transformerWeights(model.config);
    const { seed } = samplingOptions(options);
    const trained = options.full
      ? fullTraining(shapes, options.full, options.scratch ? seed : undefined)
      : loraParameters(shapes, options.lora ?? {}, new TorchGenerator(seed));
    const identity = identityOf(options, model, trained, dtype);
    const { optimizer, ema, accumulation, checkpointing = "attention", compile, workers, maxGradNorm = 1, resume, signal } = options;
    const recipe: GradientRecipe = { trained: recipeOf(trained, shapes.keys()), dtype, checkpointing };
    await workers?.open(recipe);
    const trainer = await Trainer.create(
      gpu,
      model,
      {
        trained,
        dtype,
        ...(optimizer ? { optimizer } : {}),
        ...(Number.isFinite(maxGradNorm) ? { maxGradNorm } : {}),
        ...(ema ? { ema } : {}),
        ...(accumulation ? { accumulation } : {}),
        checkpointing,
        ...(workers ? { workers } : {}),
        ...(compile ? { compile } : {}),
      },
      signal,
    );
    try {
      const rounds = options.diloco && (await TrainingRun.#openRounds(gpu, trainer, options, recipe));
      const staged = rounds ? new StagedRun(rounds, rounds, identity) : new StagedRun(trainer, stateOnDevice(trainer.states), identity);
      const run = new TrainingRun(gpu, model, data, options, trained, trainer, staged, rounds);
      if (resume) await run.staged.restore(resume);
      return run;
    } catch (error) {
      trainer[Symbol.dispose]();
      throw error;
    }
  }

  static async #openRounds(gpu: Gpu, trainer: Trainer, options: TrainOptions, recipe: GradientRecipe): Promise<Rounds> {
    const { accumulation = 1, maxGradNorm = 1, signal } = options;
    const diloco = dilocoOf(options.diloco!);
    const { exchange, innerState } = diloco;
    const workers = options.diloco!.workers ?? new ReplicasInTurn(gpu, trainer);
    await workers.open({
      ...recipe,
      optimizer: optimizerOf(options.optimizer),
      ...(Number.isFinite(maxGradNorm) ? { maxGradNorm } : {}),
      ...{ accumulation, exchange, innerState },
    });
    return await Rounds.create(gpu, trainer, diloco, workers, signal);
  }

  /** The steps that are left, each taken when it is asked for; of a run by DiLoCo its rounds. */
  steps(): AsyncGenerator<TrainingStep, void, void> {
    const { rounds } = this;
    const { signal, diloco } = this.options;
    const stages = stagesOf(this.options);
    if (!rounds)
      return this.staged.steps(
        stages,
        {
          data: (stage) => this.#micros(stage),
          take: (samples, stage, step, updates) => this.#taken(samples, stage, step, updates),
        },
        signal,
      );
    const { steps: atOnce } = diloco!;
    return this.staged.steps(
      stages,
      {
        atOnce,
        data: (stage) => this.#roundsOf(stage, atOnce),
        take: (round, stage, step) => this.#takenRound(rounds, round, stage, step),
      },
      signal,
    );
  }

  async #taken(samples: RankedMicros, stage: PlacedStage, step: number, updates: number): Promise<Omit<TrainingStep, "seconds">> {
    const { trainer, options } = this;
    const { rank = 0, signal } = options;
    const batches = await this.#batches(samples, stage, step, rank);
    const lr = this.#rate(stage, updates);
    // Between two steps only: one that was broken off may have changed the states, and would be counted as not taken.
    signal?.throwIfAborted();
    const report = await trainer.step(batches, lr);
    const timesteps = batches.map((batch) => microOf(batch).timesteps);
    return this.#told([{ ...report, timesteps, lr }], stage, step + 1, [samples[rank]!]);
  }

  /** A round of all replicas. @param steps of the round, what each learns from */
  async #takenRound(
    rounds: Rounds,
    steps: readonly RankedMicros[],
    stage: PlacedStage,
    step: number,
  ): Promise<Omit<TrainingStep, "seconds">> {
    const replicas = await rounds.take({
      batches: (replica, i) => this.#batches(steps[i]!, stage, step + i, replica),
      steps: steps.length,
      rate: (update) => this.#rate(stage, update),
      begins: step === stage.before,
      signal: this.options.signal,
    });
    const all = replicas.flat();
    const { sent, received } = rounds.moved;
    return {
      ...this.#told(
        all,
        stage,
        step + steps.length,
        replicas.flatMap((_, replica) => steps.map((ranked) => ranked[replica]!)),
      ),
      round: { steps: steps.length, skipped: all.filter(({ taken }) => !taken).length, sent, received },
    };
  }

  /** The batches of a rank's micro-steps in a step. @param samples of each rank */
  async #batches(samples: RankedMicros, { packing }: PlacedStage, step: number, rank: number): Promise<MicroBatch[]> {
    const { config, scheduler } = this.model;
    const sampling = samplingOptions(this.options);
    const count = samples.map((parts) => parts.reduce((n, part) => n + part.length, 0));
    const place = { seed: sampling.seed, step, rank, ranks: samples.length, count };
    const levels = scheduler.num_train_timesteps;
    const batches: MicroBatch[] = [];
    let first = 0;
    for (const part of samples[rank]!) {
      batches.push(
        await this.#keeping(
          packing
            ? await makePack(part, config, packing, sampling, place, first, levels)
            : await makeBatch(part, config, sampling, place, first, levels),
          part.map(({ prior }) => prior === true),
        ),
      );
      first += part.length;
    }
    return batches;
  }

  /** The micro-step with its prior clips learned as the options say. */
  async #keeping(batch: MicroBatch, isPrior: readonly boolean[]): Promise<MicroBatch> {
    const { prior, signal } = this.options;
    if (!prior || !isPrior.includes(true)) return batch;
    const kept = await this.trainer.keeping(batch, isPrior, priorOf(prior), signal);
    this.#priorFlops += kept.flops;
    return kept.batch;
  }

  /** The learning rate of an update, from 0 in its stage. */
  #rate({ lr, steps }: PlacedStage, update: number): number {
    return (lr ?? optimizerOf(this.options.optimizer).lr) * rateShare(this.options.schedule ?? {}, update, steps);
  }

  /** What steps came to together. @param step that is done then @param micros of each, that it learned from */
  #told(
    steps: readonly ReplicaStep[],
    { index, packing }: PlacedStage,
    step: number,
    micros: readonly (readonly (readonly StreamedSample[])[])[],
  ): Omit<TrainingStep, "seconds"> {
    const { options } = this;
    const { lr, lossScale } = steps.at(-1)!;
    const of = (what: (step: StepReport) => number): number => mean(steps.map(what));
    const priorFlops = this.#priorFlops;
    this.#priorFlops = 0;
    return {
      step,
      steps: stepsOf(options),
      ...(options.stages ? { stage: index + 1 } : {}),
      loss: of(({ loss }) => loss),
      clips: steps.flatMap(({ timesteps, losses }, n) =>
        timesteps.flatMap((each, i) =>
          each.map((timestep, j) => ({
            timestep,
            loss: losses[i]![j]!,
            ...(micros[n]![i]![j]!.prior ? { prior: true as const } : {}),
          })),
        ),
      ),
      gradNorm: of(({ gradNorm }) => gradNorm),
      lr,
      skipped: steps.every(({ taken }) => !taken),
      lossScale,
      flops: steps.reduce((sum, { flops }) => sum + flops, priorFlops),
      ...(packing
        ? {
            fill:
              micros.flat(2).reduce((n, sample) => n + packedTokens(this.model.config, sample), 0) /
              (packing.budget * micros.flat().length),
          }
        : {}),
    };
  }

  /** Steps put together to rounds; the last of a stage may have fewer. */
  async *#roundsOf(stage: PlacedStage, most: number): AsyncGenerator<RankedMicros[], void, void> {
    let left = stage.steps;
    let round: RankedMicros[] = [];
    for await (const step of this.#micros(stage)) {
      round.push(step);
      left--;
      if (round.length < most && left > 0) continue;
      yield round;
      round = [];
    }
  }

  /** The batches of a step: of each rank its micro-steps, in the order of the data. */
  async *#micros({
    index,
    batch: clips,
    packing,
    data = this.data,
    prior: kept = this.options.prior?.data,
  }: PlacedStage): AsyncGenerator<(readonly StreamedSample[])[][], void, void> {
    let step: (readonly StreamedSample[])[][] = [[]];
    const { accumulation = 1, diloco, ranks = diloco ? dilocoOf(diloco).replicas : 1 } = this.options;
    const seed = stageSeed(samplingOptions(this.options).seed, index);
    const { config } = this.model;
    const prior = kept && { data: kept, share: priorOf(this.options.prior!).share };
    const stream = packing ? packsOf(data, config, { packing, seed, prior }) : batchesOf(data, config, { clips, seed, prior });
    for await (const batch of stream) {
      step.at(-1)!.push(batch);
      if (step.at(-1)!.length < accumulation) continue;
      if (step.length === ranks) {
        yield step;
        step = [[]];
      } else step.push([]);
    }
  }

  /** Steps that are done. */
  get step(): number {
    return this.staged.step;
  }

  save(signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    return this.staged.save(signal);
  }

  /**
   * What the model as it is loses on clips that are not learned from, at fixed timesteps and with fixed noise: the mean of each timestep
   * over the clips. Nothing of the run changes.
   */
  async validate(samples: readonly GivenSample[], timesteps: readonly number[], signal?: AbortSignal): Promise<number[]> {
    const { config, scheduler } = this.model;
    const means: number[] = [];
    for (const timestep of timesteps) {
      let sum = 0;
      for (const [i, sample] of samples.entries())
        sum += await this.trainer.lossOf(
          await heldOutBatch(sample, config, { timestep, index: i, levels: scheduler.num_train_timesteps }),
          signal,
        );
      means.push(sum / samples.length);
    }
    return means;
  }

  async adapter(options: ExportOptions): Promise<Uint8Array<ArrayBuffer>> {
    if (!("tensors" in this.trained))
      throw new CogwheelError("training", "an adapter comes of a run that trains one, got a run of the model; ask for transformer()");
    return loraFile(this.trained, await this.#values(options));
  }

  async transformer(options: ExportOptions): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
    if (this.trained.kind !== "full")
      throw new CogwheelError("training", "a model comes of a run that trains it, got a run of an adapter; ask for adapter()");
    const { config, weights } = this.model;
    const layout = { className: "CogVideoXTransformer3DModel", config, weights: transformerWeights(config) };
    return await componentFiles(this.gpu, layout, weights, await this.#values(options), options.signal);
  }

  #values(options: ExportOptions): Promise<Map<string, Float32Array<ArrayBuffer>>> {
    if (options.average && !this.options.ema)
      throw new CogwheelError("training", "an average comes of a run that keeps one, got a run without; begin it with ema");
    return parameterValues(this.gpu, this.trainer.states, options);
  }

  [Symbol.dispose](): void {
    this.trainer[Symbol.dispose]();
  }
}
