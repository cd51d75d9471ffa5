/**
 * A micro-step of a VAE over workers that share its clips in time. They have the weights of the step, and give gradients, which are summed
 * here; the update is made here too. However many workers there are, the bytes are those of one.
 *
 * A discriminator judges the whole clip. How much it counts depends on gradients at the decoder's last weight, so the decoder goes back
 * twice then, once for each loss: gradients add up.
 */
import type { Gpu } from "../../../gpu/gpu.ts";
import type { Graph } from "../../../graph/graph.ts";
import { weightsOf } from "../../../graph/weights-of.ts";
import { placeFrames, takeFrames, vaeWeights } from "../../../models/vae/batches.ts";
import { inputOf, outputOf } from "../../../models/vae/split/piece.ts";
import type { WorkerReport } from "../../../models/vae/split/run.ts";
import type { Unit } from "../../../models/vae/split/units.ts";
import type { States } from "../../../run/states.ts";
import type { WeightProvider } from "../../../run/weight-provider.ts";
import { weightValues } from "../../initial-values.ts";
import type { Programs } from "../../programs.ts";
import { stateName } from "../../update.ts";
import type { MomentsShape } from "../clip-graphs.ts";
import type { ClipMicro, ClipPassed } from "../clip-passes.ts";
import { adversarialFactor, drawLatents, judgedGradient, momentsGradient, plusScaled } from "../clip-steps.ts";
import { distanceGraph, LAST_WEIGHT, type VaeRecipe } from "../record.ts";
import { latentSize, type PixelShape, pixelShapeKey } from "../sample.ts";
import { cotangentOf, inputGradientOf, weightGradientOf } from "./backward.ts";
import { dealOf } from "./engine.ts";
import type { PieceClip, PieceProgram, PieceRecipe, PieceWeight, PieceWorkers } from "./types.ts";

type Named = Readonly<Record<string, Float32Array>>;

/** A half of a clip, in units. */
interface Half {
  /** Of each worker. */
  readonly held: readonly (readonly Unit[])[];
  /** Rows, frames and planes of what goes in and comes out, and where a unit's begin. */
  readonly given: Frames;
  readonly made: Frames;
}
interface Frames {
  readonly units: readonly Unit[];
  readonly rows: number;
  readonly frames: number;
  readonly plane: number;
  of(unit: Unit): { readonly start: number; readonly frames: number };
}

export class WorkerPasses {
  #turn = 0;
  #frozen = false;
  #gradients = new Map<string, Float32Array<ArrayBuffer>>();
  #reports: WorkerReport[] = [];
  #flops = 0;

  /** @param states hold the parameters and the sums of their gradients */
  constructor(
    private readonly gpu: Gpu,
    private readonly programs: Programs,
    private readonly states: States,
    private readonly recipe: VaeRecipe & { readonly weights: WeightProvider },
    private readonly workers: PieceWorkers,
  ) {}

  /** Pictures that LPIPS is of, of each unit. */
  pictures(shape: PixelShape): number[] {
    return dealOf(this.recipe.config, "decode", { ...shape, workers: 1 }).units.map(({ gives }) => shape.clips * gives);
  }

  /** Losses of clips, and their gradients, added up in the states `gradient:NAME`. */
  async run(
    shape: PixelShape,
    { x, drawn, asked, losses, begun }: ClipMicro,
  ): Promise<ClipPassed & { readonly workers: readonly WorkerReport[] }> {
    const { recipe } = this;
    [this.#flops, this.#reports] = [0, []];
    const clip: PieceClip = { ...shape, workers: this.workers.count, lpips: asked.lpips, judged: asked.discriminator };
    const [encoder, decoder] = (["encode", "decode"] as const).map((half) => this.#half(half, shape)) as [Half, Half];
    if (!begun) {
      await this.#give();
      this.#gradients.clear();
    }
    const all = losses({ inputs: { has: () => true } as unknown as Graph["inputs"] }) as Named;
    const outputs: Record<string, Float32Array> = {};
    const frames = dealOf(recipe.config, "decode", clip).units.length;
    const { height, width } = latentSize(recipe.config, shape);
    const moments: MomentsShape = [shape.clips, 2 * recipe.config.latent_channels, frames, height, width];

    let [z, given] = [drawn, undefined as Float32Array | undefined];
    if (recipe.part !== "decoder") {
      given = this.#whole(await this.#runAll(clip, "encode", encoder, x), encoder.made, outputOf);
      z = await drawLatents(this.programs, ` ${moments.join()}`, moments, { moments: given, noise: drawn });
    }
    const dz = await this.#decoded(clip, shape, decoder, { x, z, all, outputs });
    if (given) {
      const inputs = { moments: given, noise: drawn, dz, kl: all["kl"]! };
      const dy = await momentsGradient(this.programs, ` ${moments.join()}`, moments, inputs, outputs);
      this.#add(await this.#runAll(clip, "encode back", encoder, x, dy));
    }
    for (const [name, sum] of this.#gradients) this.gpu.device.queue.writeBuffer(this.states.buffer(stateName("gradient", name)), 0, sum);
    return { outputs, flops: this.#flops, workers: this.#reports };
  }

  /** @returns the gradient with respect to the latents, where somebody asks for it */
  async #decoded(
    clip: PieceClip,
    shape: PixelShape,
    half: Half,
    { x, z, all, outputs }: { x: Float32Array; z: Float32Array; all: Named; outputs: Record<string, Float32Array> },
  ): Promise<Float32Array> {
    const learned = await this.#learned(clip, half, { x, z, all, outputs });
    const dz = (of: readonly ReadonlyMap<string, Float32Array>[]): Float32Array =>
      this.recipe.part === "decoder" ? new Float32Array() : this.#whole(of, half.given, ({ index }) => inputGradientOf(index));
    if (!clip.judged) {
      this.#add(learned);
      return dz(learned);
    }
    const made = this.#whole(await this.#runAll(clip, "decode", half, z), half.made, outputOf);
    const judge = { made, generator: all["generator"]! };
    const gen = await judgedGradient(this.programs, ` ${pixelShapeKey(shape)}`, this.recipe, shape, judge, outputs);
    const against = await this.#runAll(clip, "decode back", half, z, gen);
    const last = (of: typeof against): Float32Array => gradientsOf(of).get(LAST_WEIGHT)!;
    const atLast = this.recipe.part === "encoder" ? undefined : { rec: last(learned), gen: last(against) };
    const factor = await adversarialFactor(this.programs, this.recipe, atLast, all, outputs);
    this.#add(learned);
    this.#add(against, factor);
    return plusScaled(dz(learned), dz(against), factor);
  }

  /** Losses of the units, told as if each were a batch of the clip. */
  async #learned(
    clip: PieceClip,
    half: Half,
    { x, z, all, outputs }: { x: Float32Array; z: Float32Array; all: Named; outputs: Record<string, Float32Array> },
  ): Promise<readonly ReadonlyMap<string, Float32Array>[]> {
    const results = await this.#runAll(clip, "decode losses", half, z, undefined, (own) => ({
      pixels: all["pixels"]!,
      ...Object.fromEntries(
        own.flatMap((unit, i) => [
          [`target.${i}`, taken(x, half.made, unit)],
          ...(clip.lpips ? [[`lpips.${i}`, all[`lpips.${unit.index}`]!] as const] : []),
        ]),
      ),
    }));
    for (const [worker, of] of results.entries())
      for (const [name, value] of of) {
        const [, loss, place] = /^(pixels|lpips)\.(\d+)$/.exec(name) ?? [];
        if (loss) outputs[`${loss}.${half.held[worker]![Number(place)]!.index}`] = value;
      }
    return results;
  }

  /** All weights once, then those that are trained. */
  async #give(): Promise<void> {
    const { config, dtype, part, weights, trained, judges } = this.recipe;
    const lpips = judges?.lpips?.network;
    const recipe: PieceRecipe = { config, dtype, part, ...(lpips ? { lpips } : {}) };
    const side = 64;
    const shapes = new Map([
      ...vaeWeights(config),
      ...(lpips ? weightsOf(distanceGraph(this.recipe, { clips: 1, frames: 1, height: side, width: side })) : []),
    ]);
    const given = new Map<string, PieceWeight>();
    for (const [name, shape] of shapes) {
      const learns = trained.has([name]);
      if (!learns && this.#frozen) continue;
      const data = learns
        ? new Float32Array(await this.gpu.read(this.states.buffer(name), 0, 4 * shape.reduce((a, b) => a * b, 1)))
        : await weightValues(this.gpu, weights, { name, names: [name], shape });
      given.set(name, { data, shape, type: weights.type(name) === "f16" ? "f16" : "f32" });
    }
    await this.workers.give(recipe, given);
    this.#frozen = true;
  }

  async #runAll(
    clip: PieceClip,
    program: PieceProgram,
    half: Half,
    data: Float32Array,
    cotangent?: Float32Array,
    more: (own: readonly Unit[]) => Named = () => ({}),
  ): Promise<readonly ReadonlyMap<string, Float32Array>[]> {
    const inputs = half.held.map((own) => ({
      ...Object.fromEntries(
        own.flatMap((unit) => [
          [inputOf(unit), taken(data, half.given, unit)],
          ...(cotangent ? [[cotangentOf(unit.index), taken(cotangent, half.made, unit)] as const] : []),
        ]),
      ),
      ...more(own),
    }));
    const results = await this.workers.run({ clip, program, turn: this.#turn++ }, inputs);
    for (const [i, { report, flops }] of results.entries()) {
      this.#flops += flops;
      const before = this.#reports[i];
      this.#reports[i] = before ? together(before, report) : report;
    }
    return results.map((result) => result.outputs);
  }

  #add(results: readonly ReadonlyMap<string, Float32Array>[], factor = 1): void {
    for (const [name, gradient] of gradientsOf(results)) {
      this.#gradients.set(name, plusScaled(this.#gradients.get(name) ?? new Float32Array(gradient.length), gradient, factor));
    }
  }

  /** A clip from its units. @param named a unit's output */
  #whole(results: readonly ReadonlyMap<string, Float32Array>[], of: Frames, named: (unit: Unit) => string): Float32Array {
    const out = new Float32Array(of.rows * of.frames * of.plane);
    for (const unit of of.units) {
      const { start, frames } = of.of(unit);
      const data = results.find((outputs) => outputs.has(named(unit)))!.get(named(unit))!;
      placeFrames(data, frames, out, start, of.frames, of.plane);
    }
    return out;
  }

  #half(half: "encode" | "decode", shape: PixelShape): Half {
    const { config } = this.recipe;
    const { units, pieces } = dealOf(config, half, { ...shape, workers: this.workers.count });
    const latents = latentSize(config, shape);
    const starts = new Map<Unit, number>();
    let made = 0;
    for (const unit of units) {
      starts.set(unit, made);
      made += unit.gives;
    }
    const encodes = half === "encode";
    const [pixels, latent] = [shape.height * shape.width, latents.height * latents.width];
    const given: Frames = {
      units,
      rows: shape.clips * (encodes ? config.in_channels : config.latent_channels),
      frames: units.reduce((n, { frames }) => n + frames, 0),
      plane: encodes ? pixels : latent,
      of: ({ start, frames }) => ({ start, frames }),
    };
    return {
      held: pieces.map(({ from, to }) => units.slice(from, to)),
      given,
      made: {
        units,
        rows: shape.clips * (encodes ? 2 * config.latent_channels : config.out_channels),
        frames: made,
        plane: encodes ? latent : pixels,
        of: (unit) => ({ start: starts.get(unit)!, frames: unit.gives }),
      },
    };
  }
}

const taken = (data: Float32Array, { rows, frames, plane, of }: Frames, unit: Unit): Float32Array =>
  takeFrames(data, of(unit), frames, plane, rows);

/** Gradients of weights, by name, of whichever worker has the last part of a sum. */
function gradientsOf(results: readonly ReadonlyMap<string, Float32Array>[]): Map<string, Float32Array> {
  const prefix = weightGradientOf("");
  return new Map(
    results.flatMap((outputs) =>
      [...outputs].flatMap(([name, value]) => (name.startsWith(prefix) ? [[name.slice(prefix.length), value] as const] : [])),
    ),
  );
}

/** Of a step, what its runs took. */
const together = (a: WorkerReport, b: WorkerReport): WorkerReport => ({
  ...a,
  haloBytes: a.haloBytes + b.haloBytes,
  normBytes: a.normBytes + b.normBytes,
  seconds: a.seconds + b.seconds,
  waitingSeconds: a.waitingSeconds + b.waitingSeconds,
  deviceBytes: Math.max(a.deviceBytes, b.deviceBytes),
});
