/** Takes training steps of a VAE on a device, on the same machinery as a transformer's: states, programs by size, one update a step. */
import { joinedFloats } from "../../base/joined.ts";
import { WeightStore } from "../../run/weight-store.ts";
import { States } from "../../run/states.ts";
import { elements } from "../../base/shape.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import type { Graph } from "../../graph/graph.ts";
import { encodedFrames, placeFrames, takeFrames } from "../../models/vae/batches.ts";
import type { WorkerReport } from "../../models/vae/split/run.ts";
import { LatentPosterior } from "../../models/vae/posterior.ts";
import { initialise } from "../initial-values.ts";
import { mean } from "../micro-batch.ts";
import { Programs } from "../programs.ts";
import { discriminatorLoss, discriminatorMicro, judgedInitial, penaltyLoss } from "./judges.ts";
import { withSums } from "../step-graphs.ts";
import { Stepper, type StepperMicro, type StepperPasses, type StepperProgress } from "../stepper.ts";
import { cast } from "../../ops/cast.ts";
import { isMean, stateName } from "../update.ts";
import { ClipPasses } from "./clip-passes.ts";
import { drawsOf } from "../draws.ts";
import { LogVariance, type LogVarianceProgress } from "./log-variance.ts";
import {
  generatorInputs,
  type GeneratorReport,
  generatorReport,
  type GeneratorScales,
  type LossSizes,
  penaltySettings,
  type VaeWeights,
} from "./losses.ts";
import type { DiscriminatorTurn, TrainableVae, TrainVaeOptions } from "./options.ts";
import { goesByBatches } from "./passes.ts";
import { type AskedJudges, distanceGraph, ofPart, reconstructionGraph, vaeMicro } from "./record.ts";
import { latentSize, partsOfClip, type PixelSample, posteriorNoise, type PixelShape, pixelShapeKey, smallestOf } from "./sample.ts";
import { vaeRecipe, vaeSteppers } from "./trained.ts";
import { LocalWorkers } from "./workers/local.ts";
import type { PieceWorkers } from "./workers/types.ts";
import { WorkerPasses } from "./workers/worker-passes.ts";

/** A micro-step's clips, and their numbers in the step. */
export interface VaeBatch {
  readonly samples: readonly PixelSample[];
  readonly step: number;
  /** The first clip's number. */
  readonly first: number;
  /** The posterior's draws, [Z, T', H', W'] of each clip. Default: drawn, by the run's seed and the numbers. */
  readonly noise?: readonly Float32Array[];
}

export interface VaeStepReport {
  /** What `GeneratorReport` tells, the mean over the micro-steps. */
  readonly losses: Readonly<Record<string, number>>;
  readonly gradNorm: number;
  readonly taken: boolean;
  readonly lossScale: number;
  readonly flops: number;
  /** Of a step that asked the discriminator. */
  readonly discriminator?: DiscriminatorTurn;
  /** What each worker took for it. */
  readonly workers?: readonly WorkerReport[];
}

export class VaeTrainer implements Disposable {
  readonly #programs: Programs;
  readonly #stepper: Stepper;
  /** Of clips that go by batches of frames: of the size that came last. */
  #passes: ClipPasses | undefined;
  #sums: StepperPasses["sums"] | undefined;
  readonly #logVariance: LogVariance | undefined;
  /** Those that clips are split over, and whether they are this one's to end. */
  #workers: { readonly passes: WorkerPasses; readonly owned: Disposable | undefined } | undefined;
  #workerReports: readonly WorkerReport[] = [];

  private constructor(
    private readonly gpu: Gpu,
    readonly recipe: ReturnType<typeof vaeRecipe>,
    private readonly options: TrainVaeOptions,
    readonly states: States,
    private readonly store: WeightStore,
    programs: Programs,
    stepper: Stepper,
    private readonly discriminator: Stepper,
  ) {
    this.#programs = programs;
    this.#stepper = stepper;
    if (options.logVariance) this.#logVariance = new LogVariance(options.logVariance, vaeSteppers(options).vae.optimizer);
  }

  static async create({ gpu, config, weights }: TrainableVae, options: TrainVaeOptions): Promise<VaeTrainer> {
    const { compile, signal } = options;
    const recipe = vaeRecipe({ config, weights }, options);
    const { dtype, trained, judges } = recipe;
    const steppers = vaeSteppers(options);
    const { discriminator } = judges;
    const smallest = smallestOf(config, discriminator?.config);
    const like = [
      ...Stepper.graphsOf(vaeMicro(recipe, smallest, { lpips: false, discriminator: true }), steppers.vae),
      ...(discriminator ? Stepper.graphsOf(discriminatorMicro(discriminator, smallest, { dtype }), steppers.discriminator) : []),
    ];
    const states = new States(
      gpu,
      like.map((graph) => ({ graph })),
      undefined,
      options.offload ? isMean : undefined,
    );
    const store = new WeightStore(gpu, recipe.weights);
    const programs = new Programs(gpu, store, states, compile ? { compile } : {});
    try {
      const stepper = new Stepper(programs, steppers.vae);
      await initialise(gpu, weights, judgedInitial(trained, judges), states, signal);
      return new VaeTrainer(gpu, recipe, options, states, store, programs, stepper, new Stepper(programs, steppers.discriminator));
    } catch (error) {
      for (const held of [programs, states, store]) held[Symbol.dispose]();
      throw error;
    }
  }

  get progress(): VaeProgress {
    const { judges } = this.recipe;
    return {
      ...this.#stepper.progress,
      ...(judges?.discriminator ? { discriminator: this.discriminator.progress } : {}),
      ...(this.#logVariance ? { logVariance: this.#logVariance.progress } : {}),
    };
  }

  /** Goes on from what another trainer of the same options had come to; its states are written by the caller. */
  set progress({ discriminator, logVariance, ...progress }: VaeProgress) {
    this.#stepper.progress = progress;
    if (logVariance && this.#logVariance) this.#logVariance.progress = logVariance;
    if (discriminator) this.discriminator.progress = discriminator;
  }

  /**
   * One step: as many batches as there are micro-steps, in their order; then the discriminator's, on the same clips and what was made of
   * them. @param rates learning rates of both
   */
  async step(
    batches: readonly VaeBatch[],
    rates: { readonly lr: number; readonly discriminator: number },
    weights: VaeWeights,
  ): Promise<VaeStepReport> {
    const { start = 0 } = this.options.discriminator ?? {};
    const asked: AskedJudges = { lpips: weights.perceptual > 0, discriminator: weights.disc > 0 && batches[0]!.step >= start };
    const micros = batches.map((batch) => this.#micro(batch, weights, asked, batches.length));
    const step = await this.#stepper.step(micros, rates.lr);
    const reports = step.outputs.map((outputs, i) =>
      generatorReport((name) => outputs[name], micros[i]!.sizes, weights, micros[i]!.scales),
    );
    const kinds = Object.keys(reports[0]!) as (keyof GeneratorReport)[];
    const losses: Record<string, number> = Object.fromEntries(
      kinds.map((kind) => [kind, mean(reports.map((report) => report[kind] ?? 0))]),
    );
    if (this.recipe.part === "decoder") delete losses["kl"];
    if (step.taken) this.#logVariance?.update(losses["rec"]!, rates.lr);
    let { flops } = step;
    let discriminator: DiscriminatorTurn | undefined;
    if (asked.discriminator) {
      const made = step.outputs.map(({ made }) => made!);
      const turn = await this.discriminator.step(this.#discriminatorMicros(batches, made), rates.discriminator);
      losses["discriminator"] = mean(turn.outputs.map(discriminatorLoss));
      const penalties = turn.outputs.map(penaltyLoss);
      if (penalties.every((penalty) => penalty !== undefined)) losses["penalty"] = mean(penalties);
      flops += turn.flops;
      discriminator = { taken: turn.taken, gradNorm: turn.gradNorm, lossScale: turn.lossScale };
    }
    const { gradNorm, taken, lossScale } = step;
    const workers = this.#workers ? { workers: this.#workerReports } : {};
    return { losses, gradNorm, taken, lossScale, flops, ...(discriminator ? { discriminator } : {}), ...workers };
  }

  #discriminatorMicros(batches: readonly VaeBatch[], made: readonly Float32Array[]): StepperMicro[] {
    const judge = this.recipe.judges!.discriminator!;
    const start = this.options.discriminator!.start ?? 0;
    return batches.map(({ samples, step }, i) => {
      const shape = shapeOf(samples);
      const penalty = judge.penalty && (step - start) % (judge.penalty.every ?? 1) === 0 ? judge.penalty : undefined;
      const penalised = penalty !== undefined;
      return {
        key: `discriminator ${pixelShapeKey(shape)}${penalised ? " penalised" : ""}`,
        values: made[i]!.length,
        record: () => discriminatorMicro(judge, shape, { dtype: this.recipe.dtype, penalised }),
        inputs: (lossScale) => ({
          x: joinedFloats(samples.map(({ pixels }) => pixels)),
          made: made[i]!,
          discriminator: Float32Array.of((0.5 * lossScale) / batches.length),
          ...(penalty ? { penalty: penaltySettings(penalty, lossScale / batches.length, shape.clips) } : {}),
        }),
      };
    });
  }

  #micro(
    batch: VaeBatch,
    weights: VaeWeights,
    asked: AskedJudges,
    micros: number,
  ): (StepperMicro | StepperPasses) & { readonly sizes: LossSizes; readonly scales: GeneratorScales } {
    const shape = shapeOf(batch.samples);
    const { whole, config } = this.recipe;
    const size = latentSize(config, shape);
    const values = elements([shape.clips, 3, shape.frames, shape.height, shape.width]);
    const sizes: LossSizes = {
      pixels: values,
      latents: elements([shape.clips, config.latent_channels, encodedFrames(config, shape.frames), size.height, size.width]),
      pictures: partsOfClip(config, shape.frames, whole).map(({ frames }) => shape.clips * frames),
    };
    const { adaptive } = this.options.discriminator ?? {};
    const split = this.options.workers;
    const byBatches = split === undefined && goesByBatches(this.recipe, shape);
    const scales: GeneratorScales = {
      byParts: byBatches,
      logVariance: this.#logVariance?.value,
      ...(adaptive ? { adaptive } : {}),
      ...(this.recipe.oneFrame && asked.lpips ? { frames: this.#framesOf(batch, shape) } : {}),
    };
    const losses = (lossScale: number, graph: Pick<Graph, "inputs">, of = sizes) =>
      generatorInputs(graph, of, weights, { ...scales, scale: lossScale / micros });
    const noiseOf = (i: number, count: number): Float32Array => this.#noiseOf(batch, i, count);
    if (split !== undefined) {
      const { passes } = (this.#workers ??= this.#workersOf(split));
      const unitSizes = { ...sizes, pictures: passes.pictures(shape) };
      const run: StepperPasses["run"] = async (lossScale, begun) => {
        const { x, drawn } = this.#clipValues(batch.samples, noiseOf);
        const inputs = (graph: Pick<Graph, "inputs">) => losses(lossScale, graph, unitSizes);
        const { workers, ...passed } = await passes.run(shape, { x, drawn, asked, losses: inputs, begun });
        this.#workerReports = workers;
        return passed;
      };
      return { values, sizes: unitSizes, scales, sums: this.#sums!, run };
    }
    if (byBatches) {
      const sums = (this.#sums ??= this.#sumsOf());
      const run: StepperPasses["run"] = (lossScale, begun) => {
        const { x, drawn } = this.#clipValues(batch.samples, noiseOf);
        return this.#passesOf(shape).run({ x, drawn, asked, losses: (graph) => losses(lossScale, graph), begun });
      };
      return { values, sizes, scales, sums, run };
    }
    const judges = [asked.lpips ? " lpips" : "", asked.discriminator ? " discriminator" : ""].join("");
    return {
      key: pixelShapeKey(shape) + judges,
      values,
      sizes,
      scales,
      record: () => vaeMicro(this.recipe, shape, asked),
      inputs: (lossScale, graph) => ({ ...this.#clipInputs(graph, batch.samples, noiseOf), ...losses(lossScale, graph) }),
    };
  }

  /** Sums of gradients, where an update is a graph by itself. */
  #sumsOf(): StepperPasses["sums"] {
    const like = withSums(vaeMicro(this.recipe, smallestOf(this.recipe.config)));
    return { states: new States(this.gpu, [{ graph: like }], this.states), like };
  }

  #workersOf(given: number | PieceWorkers) {
    const { states } = (this.#sums ??= this.#sumsOf());
    const workers = typeof given === "number" ? new LocalWorkers(this.gpu, given) : given;
    const passes = new WorkerPasses(this.gpu, this.#programs, states, this.recipe, workers);
    return { passes, owned: typeof given === "number" ? workers : undefined };
  }

  /** Of one size at a time: what convolutions keep is much, and another size's is as good as none. */
  #passesOf(shape: PixelShape): ClipPasses {
    if (this.#passes && pixelShapeKey(this.#passes.shape) === pixelShapeKey(shape)) return this.#passes;
    this.#passes?.[Symbol.dispose]();
    this.#passes = undefined;
    return (this.#passes = new ClipPasses(this.gpu, this.#programs, (this.#sums ??= this.#sumsOf()).states, this.recipe, shape));
  }

  /** Of each clip of a batch the frame that LPIPS is of, by the run's seed and the numbers. */
  #framesOf({ step, first, samples }: VaeBatch, { frames }: PixelShape): number[] {
    return samples.map((_, i) => drawsOf(this.options.seed ?? 0, "frame", step, first + i).below(frames));
  }

  /** The posterior's draw of a batch's clip. */
  #noiseOf({ noise, step, first }: VaeBatch, index: number, values: number): Float32Array {
    if (noise?.[index]) return noise[index];
    const { latents, seed = 0 } = this.options;
    return latents === "mean" ? new Float32Array(values) : posteriorNoise(seed, step, first + index, values);
  }

  /** The mean of LPIPS over a clip's frames, of what was made of it; undefined without a network. */
  async distance(sample: PixelSample, made: Float32Array, signal?: AbortSignal): Promise<number | undefined> {
    if (!this.recipe.judges?.lpips) return undefined;
    const shape = shapeOf([sample]);
    const distances: number[] = [];
    for (const { firstFrame: start, frames } of partsOfClip(this.recipe.config, shape.frames)) {
      const part = { ...shape, frames };
      const program = await this.#programs.get(`distance ${pixelShapeKey(part)}`, () => distanceGraph(this.recipe, part));
      const of = (data: Float32Array) => takeFrames(data, { start, frames }, shape.frames, shape.height * shape.width, 3);
      await program.run({ inputs: { made: of(made), x: of(sample.pixels) }, ...(signal ? { signal } : {}) });
      distances.push(...(await program.read("lpips", signal)));
    }
    return mean(distances);
  }

  /**
   * All of clips: pixels [B, 3, T, H, W], and latents that are drawn, or noise to draw them with, [B, Z, T', H', W'].
   * @param noiseOf [Z, T′, H′, W′], so many values, for each clip by its index
   */
  #clipValues(samples: readonly PixelSample[], noiseOf: (index: number, values: number) => Float32Array) {
    const { config: c, part } = this.recipe;
    const shape = shapeOf(samples);
    const { height, width } = latentSize(c, shape);
    const frames = encodedFrames(c, shape.frames);
    const drawn = samples.map(({ moments }, i) => {
      const noise = noiseOf(i, elements([c.latent_channels, frames, height, width]));
      return part === "decoder"
        ? LatentPosterior.fromMoments(moments!, [1, 2 * c.latent_channels, frames, height, width]).sample(noise)
        : noise;
    });
    return { x: joinedFloats(samples.map(({ pixels }) => pixels)), drawn: joinedFloats(drawn) };
  }

  /** What a graph reads of clips, part by part. @param noiseOf as above */
  #clipInputs(
    graph: Pick<Graph, "inputs">,
    samples: readonly PixelSample[],
    noiseOf: (index: number, values: number) => Float32Array,
  ): Record<string, Float32Array> {
    const { whole, config: c, part } = this.recipe;
    const shape = shapeOf(samples);
    const { height, width } = latentSize(c, shape);
    const frames = encodedFrames(c, shape.frames);
    const { x, drawn } = this.#clipValues(samples, noiseOf);
    const inputs: Record<string, Float32Array> = {};
    for (const [i, of] of partsOfClip(c, shape.frames, whole).entries()) {
      const pixels = { start: of.firstFrame, frames: of.frames };
      // A decoder's reconstruction reads latents alone.
      if (graph.inputs.has(ofPart("x", i)))
        inputs[ofPart("x", i)] = takeFrames(x, pixels, shape.frames, shape.height * shape.width, shape.clips * 3);
      const latents = { start: of.firstLatent, frames: of.latents };
      inputs[ofPart(part === "decoder" ? "z" : "noise", i)] = takeFrames(
        drawn,
        latents,
        frames,
        height * width,
        shape.clips * c.latent_channels,
      );
    }
    return inputs;
  }

  /** [3, T, H, W] of a clip, as the trained weights or their average make it of its latents' mean. */
  async reconstruct(sample: PixelSample, signal?: AbortSignal): Promise<Float32Array> {
    const { config: c, trained, whole } = this.recipe;
    const shape = shapeOf([sample]);
    const average = this.options.ema !== undefined;
    const learned: Graph["standIn"] = ({ names, shape: of, dtype }, graph) => {
      if (!trained.has(names)) return undefined;
      const name = names.join("+");
      const state = graph.state(average ? stateName("average", name) : name, of);
      return dtype === "f16" ? cast(state, "f16") : state;
    };
    const mean = (_: number, values: number): Float32Array => new Float32Array(values);
    if (goesByBatches(this.recipe, shape)) {
      const { x, drawn } = this.#clipValues([sample], mean);
      return await this.#passesOf(shape).reconstruct(x, drawn, learned, signal);
    }
    const program = await this.#programs.get(`reconstruct ${pixelShapeKey(shape)}`, () => reconstructionGraph(this.recipe, shape, learned));
    const inputs = this.#clipInputs(program.plan.graph, [sample], mean);
    await program.run({ inputs, ...(signal ? { signal } : {}) });
    const out = new Float32Array(sample.pixels.length);
    for (const [i, of] of partsOfClip(c, shape.frames, whole).entries())
      placeFrames(
        (await program.read(ofPart("made", i), signal)) as Float32Array,
        of.frames,
        out,
        of.firstFrame,
        shape.frames,
        shape.height * shape.width,
      );
    return out;
  }

  /** Frees what programs have on the device; they are made again when they are asked for. */
  release(): void {
    this.#passes?.[Symbol.dispose]();
    this.#passes = undefined;
    this.#programs.forget();
  }

  [Symbol.dispose](): void {
    this.release();
    for (const held of [this.#workers?.owned, this.#programs, this.#sums?.states, this.states, this.store]) held?.[Symbol.dispose]();
  }
}

/** What the next step depends on besides the states. */
export interface VaeProgress extends StepperProgress {
  readonly discriminator?: StepperProgress | undefined;
  readonly logVariance?: LogVarianceProgress | undefined;
}

const shapeOf = (samples: readonly PixelSample[]): PixelShape => {
  const [{ frames, height, width }] = samples as readonly [PixelSample];
  return { clips: samples.length, frames, height, width };
};
