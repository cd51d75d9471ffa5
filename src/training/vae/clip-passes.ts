/**
 * A micro-step of a VAE whose clips go through in their batches of frames: encoder, latents drawn from the posterior, decoder, losses, and
 * back. On the device are the activations of one batch of one half, so that a clip's length decides only what convolutions keep between
 * batches, which lies in the host's memory until it is read again. Gradients are those of one graph over the whole clip.
 *
 * A discriminator judges the whole clip, and how much it counts depends on gradients over all of it. So with one the decoder goes over the
 * clip three times: to make it, to weigh both losses against each other, and back.
 */
import type { Gpu } from "../../gpu/gpu.ts";
import type { Graph } from "../../graph/graph.ts";
import { checkVideoShape, takeFrames, placeFrames, type VideoShape } from "../../models/vae/batches.ts";
import type { States } from "../../run/states.ts";
import type { ProgramMaker, Programs } from "../programs.ts";
import { adaptiveGraph, batchLosses, judgedGraph, type MomentsShape, posteriorGraph, sampleGraph, weighedLosses } from "./clip-graphs.ts";
import { adversarialFactor, drawLatents, judgedGradient, momentsGradient, plusScaled } from "./clip-steps.ts";
import { type BatchCalls, FrameBatches, halfGraphs, madeShapeOf, statesOf } from "./frame-batches.ts";
import type { HalfRecipe } from "./half-graphs.ts";
import type { AskedJudges, VaeRecipe } from "./record.ts";
import { latentSize, partsOfClip, type PixelShape, pixelShapeKey } from "./sample.ts";

/** Clips of one size, and what their losses count. */
export interface ClipMicro {
  /** Pixels [B, 3, T, H, W]. */
  readonly x: Float32Array;
  /** [B, Z, T', H', W']: latents where the decoder alone is trained, else a standard normal draw. */
  readonly drawn: Float32Array;
  readonly asked: AskedJudges;
  /** Values of losses' inputs, as `generatorInputs` gives them. */
  losses(graph: Pick<Graph, "inputs">): Record<string, Float32Array | Uint32Array>;
  /** Are there gradients that these are added to? */
  readonly begun: boolean;
}

export interface ClipPassed {
  /** As the one graph's outputs are named. */
  readonly outputs: Record<string, Float32Array>;
  /** As planned. */
  readonly flops: number;
}

/** The halves that a clip goes through, with the sizes of what goes in. */
function halvesOf(
  recipe: VaeRecipe,
  shape: PixelShape,
): { readonly encoder?: [HalfRecipe, VideoShape]; readonly decoder: [HalfRecipe, VideoShape] } {
  const { config, weights, dtype, trained, part, checkpointing } = recipe;
  const shared = { config, weights, dtype, trained, again: checkpointing === "blocks" };
  const { clips: batch, frames, height, width } = shape;
  const parts = partsOfClip(config, frames);
  const latents = { batch, frames: parts.reduce((n, one) => n + one.latents, 0), ...latentSize(config, shape) };
  const decoder: [HalfRecipe, VideoShape] = [{ ...shared, part: "decode", ofInput: part !== "decoder" }, latents];
  if (part === "decoder") return { decoder };
  return {
    encoder: [
      { ...shared, part: "encode", ofInput: false },
      { batch, frames, height, width },
    ],
    decoder,
  };
}

/** What runs between and after the halves. */
export function besideGraphs(recipe: VaeRecipe, shape: PixelShape, { discriminator: judged }: AskedJudges): Graph[] {
  const { encoder } = halvesOf(recipe, shape);
  const moments = encoder && (madeShapeOf(...encoder) as MomentsShape);
  return [
    ...(moments ? [sampleGraph(moments), posteriorGraph(moments)] : []),
    ...(judged ? [judgedGraph(recipe, shape)] : []),
    ...(judged && recipe.part !== "encoder" ? [adaptiveGraph(recipe)] : []),
  ];
}

/** Every graph of such a micro-step, each once, with how often it runs in one. */
export function clipGraphs(recipe: VaeRecipe, shape: PixelShape, asked: AskedJudges): { readonly graph: Graph; readonly times: number }[] {
  const { encoder, decoder } = halvesOf(recipe, shape);
  const [half, latents] = decoder;
  const judged = asked.discriminator;
  const plain = halfGraphs(half, latents).filter(({ what, shape: of }) => (what === "forward" ? judged || of.continued : judged));
  const weighed = judged ? halfGraphs(half, latents, weighedLosses(recipe, asked)).filter(({ what }) => what === "forward") : [];
  const learned = judged ? [] : halfGraphs({ ...half, objective: batchLosses(recipe, asked) }, latents);
  const halves = [...(encoder ? halfGraphs(...encoder) : []), ...plain, ...weighed, ...learned.filter(({ what }) => what === "backward")];
  return [
    ...halves.map(({ record, times }) => ({ graph: record(), times })),
    ...besideGraphs(recipe, shape, asked).map((graph) => ({ graph, times: 1 })),
  ];
}

export class ClipPasses implements Disposable {
  /** What convolutions keep, with its gradients. */
  readonly #states: States;
  readonly #programs: ProgramMaker;
  readonly #prefix: string;
  /** Of the moments, where the encoder is run, and of the latents. */
  readonly #moments: MomentsShape | undefined;
  #flops = 0;

  /**
   * @param programs of the run, which makes this one's too
   * @param states hold the parameters and the sums of their gradients (`gradient:NAME`)
   */
  constructor(
    private readonly gpu: Gpu,
    private readonly programs: Programs,
    states: States,
    private readonly recipe: VaeRecipe,
    readonly shape: PixelShape,
  ) {
    const { encoder, decoder } = halvesOf(recipe, shape);
    if (encoder) checkVideoShape(recipe.config, "encode", encoder[1]);
    this.#moments = encoder && (madeShapeOf(...encoder) as MomentsShape);
    this.#states = statesOf(gpu, [...(encoder ? [encoder] : []), decoder], states);
    this.#prefix = `batches ${pixelShapeKey(shape)}`;
    const maker = programs.of(this.#prefix, this.#states);
    this.#programs = {
      get: async (key, record) => {
        const program = await maker.get(key, record);
        this.#flops += program.plan.cost.flops;
        return program;
      },
    };
  }

  /** Losses of clips, and their gradients, added up in the states `gradient:NAME`. */
  async run({ x, drawn, asked, losses, begun }: ClipMicro): Promise<ClipPassed> {
    this.#flops = 0;
    const { clips, frames, height, width } = this.shape;
    const { encoder, decoder } = halvesOf(this.recipe, this.shape);
    const all = losses({ inputs: { has: () => true } as unknown as Graph["inputs"] });
    const outputs: Record<string, Float32Array> = {};
    const pixels = (data: Float32Array, start: number, count: number): Float32Array =>
      takeFrames(data, { start, frames: count }, frames, height * width, clips * 3);
    // A batch's graph is that of all of its kind, so that it numbers its only part 0.
    const calls: Required<BatchCalls> = {
      inputs: ({ madeStart, madeFrames }, i, graph) =>
        Object.fromEntries(
          [...graph.inputs.keys()].flatMap((name) => {
            if (name === "target") return [[name, pixels(x, madeStart, madeFrames)]];
            const value = all[name.replace(/\.0$/, `.${i}`)];
            return value ? [[name, value]] : [];
          }),
        ),
      outputs: async (read, _, i, graph) => {
        for (const name of graph.outputs.keys()) if (name.endsWith(".0")) outputs[name.replace(/0$/, `${i}`)] = await read(name);
      },
    };
    const [moments, z, first] = encoder ? await this.#encoded(encoder, x, drawn) : [undefined, drawn, undefined];
    const dz = asked.discriminator
      ? await this.#againstJudge(decoder, z, asked, { calls, pixels, all, outputs, begun })
      : await this.#learned(decoder, z, asked, calls, begun);
    if (first) {
      const inputs = { moments: moments!, noise: drawn, dz: dz!, kl: all["kl"]! };
      await first.backward({ cotangent: await momentsGradient(this.#programs, "", this.#moments!, inputs, outputs), begun });
    }
    return { outputs, flops: this.#flops };
  }

  /** [B, 3, T, H, W] of clips, as weights that stand in make it. @param x, drawn as in a micro-step, of which zeros give the mean */
  async reconstruct(x: Float32Array, drawn: Float32Array, standIn: Graph["standIn"], signal?: AbortSignal): Promise<Float32Array> {
    const { encoder, decoder } = halvesOf(this.recipe, this.shape);
    const half = ([recipe, shape]: [HalfRecipe, VideoShape]) => this.#half({ ...recipe, standIn }, shape, "reconstruct");
    const z = encoder ? (await this.#encoded(encoder, x, drawn, half(encoder)))[1] : drawn;
    return await half(decoder).forward(z, { signal });
  }

  #half(recipe: HalfRecipe, shape: VideoShape, variant = ""): FrameBatches {
    const programs: ProgramMaker = { get: (key, record) => this.#programs.get(`${variant} ${key}`, record) };
    return new FrameBatches(this.gpu, recipe, shape, programs, this.#states);
  }

  /** Moments, latents drawn from them, and the half that goes back. */
  async #encoded(
    [recipe, shape]: [HalfRecipe, VideoShape],
    x: Float32Array,
    noise: Float32Array,
    encoder = this.#half(recipe, shape),
  ): Promise<[Float32Array, Float32Array, FrameBatches]> {
    const moments = await encoder.forward(x, { putAside: true });
    return [moments, await drawLatents(this.#programs, "", this.#moments!, { moments, noise }), encoder];
  }

  /** Losses batch by batch, on the way back. @returns the gradient with respect to the latents, where the encoder is trained */
  async #learned(
    [recipe, shape]: [HalfRecipe, VideoShape],
    z: Float32Array,
    asked: AskedJudges,
    calls: BatchCalls,
    begun: boolean,
  ): Promise<Float32Array | undefined> {
    // A half with an objective has another way back than one that a discriminator's gradient goes through, in the same run later.
    const objective = batchLosses(this.recipe, asked);
    const decoder = this.#half({ ...recipe, objective }, shape, asked.lpips ? "learned lpips" : "learned");
    await decoder.forward(z, { withoutLast: true });
    return (await decoder.backward({ ...calls, begun })).dx;
  }

  /** With a discriminator's loss, whose gradient is of the whole clip. */
  async #againstJudge(
    [recipe, shape]: [HalfRecipe, VideoShape],
    z: Float32Array,
    asked: AskedJudges,
    { calls, pixels, all, outputs, begun }: JudgedWork,
  ): Promise<Float32Array | undefined> {
    const { frames, height, width } = this.shape;
    const decoder = this.#half(recipe, shape);
    const made = await decoder.forward(z);
    const gen = await judgedGradient(this.#programs, "", this.recipe, this.shape, { made, generator: all["generator"]! }, outputs);

    const rec = new Float32Array(made.length);
    const atLast: Record<"rec" | "gen", Float32Array> = { rec: new Float32Array(), gen: new Float32Array() };
    await decoder.forward(z, {
      beside: { key: asked.lpips ? "weighed lpips" : "weighed", record: weighedLosses(this.recipe, asked) },
      inputs: (batch, i, graph) => ({
        ...calls.inputs(batch, i, graph),
        ...(graph.inputs.has("gen") ? { gen: pixels(gen, batch.madeStart, batch.madeFrames) } : {}),
      }),
      outputs: async (read, batch, i, graph) => {
        await calls.outputs(read, batch, i, graph);
        placeFrames(await read("rec"), batch.madeFrames, rec, batch.madeStart, frames, height * width);
        if (!graph.outputs.has("gen at last")) return;
        for (const name of ["rec", "gen"] as const) atLast[name] = sum(await read(`${name} at last`), atLast[name]);
      },
    });
    const weighed = this.recipe.part === "encoder" ? undefined : atLast;
    const factor = await adversarialFactor(this.#programs, this.recipe, weighed, all, outputs);
    return (await decoder.backward({ cotangent: plusScaled(rec, gen, factor), begun })).dx;
  }

  [Symbol.dispose](): void {
    this.programs.drop(this.#prefix);
    this.#states[Symbol.dispose]();
  }
}

/** What a pass against a discriminator shares with its micro-step. */
interface JudgedWork {
  readonly calls: Required<BatchCalls>;
  /** Frames of a clip. */
  readonly pixels: (data: Float32Array, start: number, count: number) => Float32Array;
  readonly all: Readonly<Record<string, Float32Array | Uint32Array>>;
  readonly outputs: Record<string, Float32Array>;
  readonly begun: boolean;
}

const sum = (values: Float32Array, to: Float32Array): Float32Array => (to.length ? plusScaled(values, to, 1) : values);
