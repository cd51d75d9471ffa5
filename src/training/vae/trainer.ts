/** Takes training steps of a VAE on a device, on the same machinery as a transformer's: states, programs by size, one update a step. */
import { WeightStore } from "../../run/weight-store.ts";
import { States } from "../../run/states.ts";
import { leastClip } from "../../models/discriminator/config.ts";
import { spatialRatio } from "../../models/vae/config.ts";
import { elements } from "../../base/shape.ts";
import type { Graph } from "../../graph/graph.ts";
import { encodedFrames, LATENT_BATCH, placeFrames } from "../../models/vae/batches.ts";
import { LatentPosterior } from "../../models/vae/posterior.ts";
import { initialise } from "../initial-values.ts";
import { mean } from "../micro-batch.ts";
import { Programs } from "../programs.ts";
import { discriminatorLoss, discriminatorMicro, judgedInitial } from "./judges.ts";
import { Stepper, type StepperMicro, type StepperProgress } from "../stepper.ts";
import { cast } from "../../ops/cast.ts";
import { stateName } from "../update.ts";
import { generatorInputs, type GeneratorReport, generatorReport, type LossSizes, type VaeWeights } from "./losses.ts";
import type { DiscriminatorTurn, TrainableVae, TrainVaeOptions } from "./options.ts";
import { type AskedJudges, distanceGraph, ofPart, reconstructionGraph, vaeMicro, type VaeRecipe } from "./record.ts";
import { framesOfAll, latentSize, partsOfClip, type PixelSample, posteriorNoise, type PixelShape, pixelShapeKey } from "./sample.ts";
import { vaeRecipe, vaeSteppers } from "./trained.ts";

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
}

export class VaeTrainer implements Disposable {
  readonly #programs: Programs;
  readonly #stepper: Stepper;

  private constructor(
    readonly recipe: VaeRecipe,
    private readonly options: TrainVaeOptions,
    readonly states: States,
    private readonly store: WeightStore,
    programs: Programs,
    stepper: Stepper,
    private readonly discriminator: Stepper,
  ) {
    this.#programs = programs;
    this.#stepper = stepper;
  }

  static async create({ gpu, config, weights }: TrainableVae, options: TrainVaeOptions): Promise<VaeTrainer> {
    const { compile, signal } = options;
    const recipe = vaeRecipe({ config, weights }, options);
    const { dtype, trained, judges } = recipe;
    const steppers = vaeSteppers(options);
    // A small clip has the same states as any other; a discriminator wants some patches of it.
    const side = spatialRatio(config);
    const { discriminator } = judges;
    const least = discriminator ? leastClip(discriminator.config) : { frames: 1, height: 1, width: 1 };
    const period = LATENT_BATCH * config.temporal_compression_ratio;
    const up = (size: number): number => Math.ceil(size / side) * side;
    const smallest = {
      clips: 1,
      frames: Math.ceil((least.frames - 1) / period) * period + 1,
      height: up(least.height),
      width: up(least.width),
    };
    const like = [
      ...Stepper.graphsOf(vaeMicro(recipe, smallest, { lpips: false, discriminator: true }), steppers.vae),
      ...(discriminator ? Stepper.graphsOf(discriminatorMicro(discriminator, smallest, dtype), steppers.discriminator) : []),
    ];
    const states = new States(
      gpu,
      like.map((graph) => ({ graph })),
    );
    const store = new WeightStore(gpu, recipe.weights);
    const programs = new Programs(gpu, store, states, compile ? { compile } : {});
    try {
      const stepper = new Stepper(programs, steppers.vae);
      await initialise(gpu, weights, judgedInitial(trained, judges), states, signal);
      return new VaeTrainer(recipe, options, states, store, programs, stepper, new Stepper(programs, steppers.discriminator));
    } catch (error) {
      for (const held of [programs, states, store]) held[Symbol.dispose]();
      throw error;
    }
  }

  get progress(): VaeProgress {
    const { judges } = this.recipe;
    return { ...this.#stepper.progress, ...(judges?.discriminator ? { discriminator: this.discriminator.progress } : {}) };
  }

  /** Goes on from what another trainer of the same options had come to; its states are written by the caller. */
  set progress({ discriminator, ...progress }: VaeProgress) {
    this.#stepper.progress = progress;
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
    const reports = step.outputs.map((outputs, i) => generatorReport((name) => outputs[name], micros[i]!.sizes, weights));
    const kinds = Object.keys(reports[0]!) as (keyof GeneratorReport)[];
    const losses: Record<string, number> = Object.fromEntries(
      kinds.map((kind) => [kind, mean(reports.map((report) => report[kind] ?? 0))]),
    );
    if (this.recipe.part === "decoder") delete losses["kl"];
    let { flops } = step;
    let discriminator: DiscriminatorTurn | undefined;
    if (asked.discriminator) {
      const made = step.outputs.map(({ made }) => made!);
      const turn = await this.discriminator.step(this.#discriminatorMicros(batches, made), rates.discriminator);
      losses["discriminator"] = mean(turn.outputs.map(discriminatorLoss));
      flops += turn.flops;
      discriminator = { taken: turn.taken, gradNorm: turn.gradNorm, lossScale: turn.lossScale };
    }
    const { gradNorm, taken, lossScale } = step;
    return { losses, gradNorm, taken, lossScale, flops, ...(discriminator ? { discriminator } : {}) };
  }

  #discriminatorMicros(batches: readonly VaeBatch[], made: readonly Float32Array[]): StepperMicro[] {
    return batches.map(({ samples }, i) => {
      const shape = shapeOf(samples);
      const plane = shape.height * shape.width;
      return {
        key: `discriminator ${pixelShapeKey(shape)}`,
        values: made[i]!.length,
        record: () => discriminatorMicro(this.recipe.judges!.discriminator!, shape, this.recipe.dtype),
        inputs: (lossScale) => ({
          x: framesOfAll(
            samples.map(({ pixels }) => pixels),
            3,
            shape.frames,
            plane,
            { first: 0, count: shape.frames },
          ),
          made: made[i]!,
          discriminator: Float32Array.of((0.5 * lossScale) / batches.length),
        }),
      };
    });
  }

  #micro(batch: VaeBatch, weights: VaeWeights, asked: AskedJudges, micros: number): StepperMicro & { sizes: LossSizes } {
    const shape = shapeOf(batch.samples);
    const { whole, config } = this.recipe;
    const size = latentSize(config, shape);
    const sizes: LossSizes = {
      pixels: elements([shape.clips, 3, shape.frames, shape.height, shape.width]),
      latents: elements([shape.clips, config.latent_channels, encodedFrames(config, shape.frames), size.height, size.width]),
      pictures: partsOfClip(config, shape.frames, whole).map(({ frames }) => shape.clips * frames),
    };
    const judges = [asked.lpips ? " lpips" : "", asked.discriminator ? " discriminator" : ""].join("");
    return {
      key: pixelShapeKey(shape) + judges,
      values: sizes.pixels,
      sizes,
      record: () => vaeMicro(this.recipe, shape, asked),
      inputs: (lossScale, graph) => ({
        ...this.#clipInputs(graph, batch.samples, (i, values) => this.#noiseOf(batch, i, values)),
        ...generatorInputs(graph, sizes, weights, {
          scale: lossScale / micros,
          ...(this.options.discriminator?.adaptive ? { adaptive: this.options.discriminator.adaptive } : {}),
        }),
      }),
    };
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
    const program = await this.#programs.get(`distance ${pixelShapeKey(shape)}`, () => distanceGraph(this.recipe, shape));
    await program.run({ inputs: { made, x: sample.pixels }, ...(signal ? { signal } : {}) });
    return mean((await program.read("lpips", signal)) as Float32Array);
  }

  /**
   * What a graph reads of clips, part by part: pixels, and noise or the latents that are drawn with it.
   * @param noiseOf [Z, T', H', W'], so many values, for each clip by its index
   */
  #clipInputs(
    graph: Pick<Graph, "inputs">,
    samples: readonly PixelSample[],
    noiseOf: (index: number, values: number) => Float32Array,
  ): Record<string, Float32Array> {
    const { whole, config: c } = this.recipe;
    const shape = shapeOf(samples);
    const { height, width } = latentSize(c, shape);
    const frames = encodedFrames(c, shape.frames);
    const fromMoments = this.recipe.part === "decoder";
    const pixels = samples.map((sample) => sample.pixels);
    const drawn = samples.map(({ moments }, i) => {
      const noise = noiseOf(i, elements([c.latent_channels, frames, height, width]));
      return fromMoments ? LatentPosterior.fromMoments(moments!, [1, 2 * c.latent_channels, frames, height, width]).sample(noise) : noise;
    });
    const inputs: Record<string, Float32Array> = {};
    for (const [i, of] of partsOfClip(c, shape.frames, whole).entries()) {
      // A decoder's reconstruction reads latents alone.
      if (graph.inputs.has(ofPart("x", i)))
        inputs[ofPart("x", i)] = framesOfAll(pixels, 3, shape.frames, shape.height * shape.width, {
          first: of.firstFrame,
          count: of.frames,
        });
      inputs[ofPart(fromMoments ? "z" : "noise", i)] = framesOfAll(drawn, c.latent_channels, frames, height * width, {
        first: of.firstLatent,
        count: of.latents,
      });
    }
    return inputs;
  }

  /** [3, T, H, W] of a clip, as the trained weights or their average make it of its latents' mean. */
  async reconstruct(sample: PixelSample, signal?: AbortSignal): Promise<Float32Array> {
    const { config: c, trained, whole } = this.recipe;
    const shape = shapeOf([sample]);
    const average = this.options.ema !== undefined;
    const program = await this.#programs.get(`reconstruct ${pixelShapeKey(shape)}`, () =>
      reconstructionGraph(this.recipe, shape, ({ names, shape: of, dtype }, graph) => {
        if (!trained.has(names)) return undefined;
        const name = names.join("+");
        const state = graph.state(average ? stateName("average", name) : name, of);
        return dtype === "f16" ? cast(state, "f16") : state;
      }),
    );
    const inputs = this.#clipInputs(program.plan.graph, [sample], (_, values) => new Float32Array(values));
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
    this.#programs.forget();
  }

  [Symbol.dispose](): void {
    for (const held of [this.#programs, this.states, this.store]) held[Symbol.dispose]();
  }
}

/** What the next step depends on besides the states. */
export interface VaeProgress extends StepperProgress {
  readonly discriminator?: StepperProgress | undefined;
}

const shapeOf = (samples: readonly PixelSample[]): PixelShape => {
  const [{ frames, height, width }] = samples as readonly [PixelSample];
  return { clips: samples.length, frames, height, width };
};
