/**
 * One half of a VAE over a clip in its batches of frames, forward and then backward in reverse order. A clip may be longer than memory:
 * between batches only their inputs and the frames that convolutions kept stay, everything else is computed once more on the way back.
 *
 *   const decoder = await FrameBatches.create(gpu, store, states, recipe, clip);
 *   const video = await decoder.forward(latents);
 *   const { dx } = await decoder.backward({ cotangent });   // gradient:NAME in states hold the parameters' gradients
 */
import { CogwheelError } from "../../base/errors.ts";
import type { Gpu, OwnedBuffer } from "../../gpu/gpu.ts";
import type { Graph } from "../../graph/graph.ts";
import {
  checkVideoShape,
  decodedFrames,
  encodedFrames,
  type FrameBatch,
  inputChannels,
  outputChannels,
  partBatches,
  placeFrames,
  takeFrames,
  type VideoShape,
} from "../../models/vae/batches.ts";
import { spatialRatio } from "../../models/vae/config.ts";
import { compile, type CompileOptions, type Plan } from "../../plan/compile.ts";
import type { Capabilities } from "../../gpu/capabilities.ts";
import { States } from "../../run/states.ts";
import type { WeightStore } from "../../run/weight-store.ts";
import { Programs } from "../programs.ts";
import { backwardGraph, type FrameBatchShape, forwardGraph, type HalfRecipe, isBetween, isCache } from "./half-graphs.ts";

/** A clip's batch of frames, with what the half makes of it. */
export interface ClipBatch extends FrameBatch {
  /** Of the result: the first frame and how many. */
  readonly madeStart: number;
  readonly madeFrames: number;
}

/** How a clip, or its latents, goes through a half: the published batches of frames. @param shape of the half's input */
export function clipBatches({ config, part }: Pick<HalfRecipe, "config" | "part">, { frames }: Pick<VideoShape, "frames">): ClipBatch[] {
  const makes = part === "encode" ? encodedFrames : decodedFrames;
  let madeStart = 0;
  return partBatches(part, frames).map((each) => {
    const madeFrames = makes(config, each.frames);
    const batch = { ...each, madeStart, madeFrames };
    madeStart += madeFrames;
    return batch;
  });
}

/** Of what a half makes of a clip or its latents: [B, C, F, H, W]. */
export function madeShapeOf(
  { config, part }: Pick<HalfRecipe, "config" | "part">,
  shape: VideoShape,
): readonly [number, number, number, number, number] {
  const ratio = spatialRatio(config) ** (part === "encode" ? -1 : 1);
  const { madeStart, madeFrames } = clipBatches({ config, part }, shape).at(-1)!;
  return [shape.batch, outputChannels(config, part), madeStart + madeFrames, shape.height * ratio, shape.width * ratio];
}

export interface ClipBackwardOptions {
  /** Of the half's result [B, C, F, H, W]; not where the recipe has an objective. */
  readonly cotangent?: Float32Array;
  /** What the objective's inputs hold, batch by batch. */
  readonly inputs?: (batch: ClipBatch, index: number) => Record<string, ArrayBufferView>;
  /** Takes the objective's outputs, batch by batch, the last one first. */
  readonly outputs?: (read: (name: string) => Promise<Float32Array>, batch: ClipBatch, index: number) => void | Promise<void>;
  /** Are there gradients that these are added to? Default false. */
  readonly begun?: boolean;
  readonly signal?: AbortSignal;
}

export class FrameBatches implements Disposable {
  readonly batches: readonly ClipBatch[];
  readonly #programs: Programs;
  readonly #states: States;
  /** What convolutions had kept before each batch but the first and the last, by state; before the last one it is in the states. */
  readonly #kept: Map<string, OwnedBuffer>[] = [];
  #inputs: Float32Array | undefined;

  /** @param programs of a clip, whose states are `states`: both stay their owner's */
  constructor(
    private readonly gpu: Gpu,
    private readonly recipe: HalfRecipe,
    private readonly shape: VideoShape,
    programs: Programs,
    states: States,
    private readonly owned: readonly Disposable[] = [],
  ) {
    checkVideoShape(recipe.config, recipe.part, shape);
    this.batches = clipBatches(recipe, shape);
    this.#programs = programs;
    this.#states = states;
  }

  /**
   * @param store of the frozen weights @param states hold the parameters and, where there are any, the sums of their gradients
   * (`gradient:NAME`), for the update that follows; what is missing belongs to this @param shape of the half's input
   */
  static async create(
    gpu: Gpu,
    store: WeightStore,
    states: States,
    recipe: HalfRecipe,
    shape: VideoShape,
    options: { readonly compile?: CompileOptions } = {},
  ): Promise<FrameBatches> {
    const own = statesOf(gpu, [[recipe, shape]], states);
    const programs = new Programs(gpu, store, own, options);
    return new FrameBatches(gpu, recipe, shape, programs, own, [programs, own]);
  }

  /** x [B, C, F, H, W], pixels or latents → the half's result, moments or pixels. What its gradients need is kept until {@link backward}. */
  async forward(x: Float32Array, signal?: AbortSignal): Promise<Float32Array> {
    const { batch, frames, height, width } = this.shape;
    const [rows, plane] = [batch * this.#channels.x, height * width];
    if (x.length !== rows * frames * plane)
      throw new CogwheelError("training", `a clip must have ${rows} × ${frames} × ${plane} values, got ${x.length}; check its size`);
    this.#forget();
    this.#inputs = x;
    const whole = new Float32Array(batch * this.#channels.y * this.#madeFrames * this.#madePlane);
    for (const [i, part] of this.batches.entries()) {
      if (i > 0 && i < this.batches.length - 1) this.#keep();
      const program = await this.#program("forward", i);
      await program.run({ inputs: { x: takeFrames(x, part, frames, plane, rows) }, ...(signal ? { signal } : {}) });
      placeFrames(await program.read("y", signal), part.madeFrames, whole, part.madeStart, this.#madeFrames, this.#madePlane);
    }
    return whole;
  }

  /** Gradients of what the last {@link forward} took: of the input as `dx` [B, C, F, H, W] where the recipe asks for it. */
  async backward({ cotangent, inputs, outputs, begun = false, signal }: ClipBackwardOptions = {}): Promise<{ dx?: Float32Array }> {
    const { batch, frames, height, width } = this.shape;
    const x = this.#inputs;
    if (!x) throw new CogwheelError("training", "gradients are of a clip that went forward, got none; run forward first");
    if ((cotangent === undefined) !== (this.recipe.objective !== undefined))
      throw new CogwheelError("training", "gradients begin with a cotangent, or with the recipe's objective, got both or none; give one");
    const [rows, plane] = [batch * this.#channels.x, height * width];
    const [madeRows, madeFrames, madePlane] = [batch * this.#channels.y, this.#madeFrames, this.#madePlane];
    if (cotangent && cotangent.length !== madeRows * madeFrames * madePlane)
      throw new CogwheelError(
        "training",
        `a cotangent must have ${madeRows} × ${madeFrames} × ${madePlane} values, got ${cotangent.length}; give that of the result`,
      );
    const dx = this.recipe.ofInput ? new Float32Array(x.length) : undefined;
    for (const [i, part] of [...this.batches.entries()].reverse()) {
      const program = await this.#program("backward", i);
      this.#restore(i);
      const made = { start: part.madeStart, frames: part.madeFrames };
      await program.run({
        inputs: {
          x: takeFrames(x, part, frames, plane, rows),
          ...(cotangent ? { dy: takeFrames(cotangent, made, madeFrames, madePlane, madeRows) } : {}),
          ...inputs?.(part, i),
          ...(program.plan.graph.inputs.has("begun") ? { begun: Float32Array.of(+(begun || i < this.batches.length - 1), 0, 0, 0) } : {}),
        },
        ...(signal ? { signal } : {}),
      });
      await outputs?.((name) => program.read(name, signal), part, i);
      if (dx) placeFrames(await program.read("dx", signal), part.frames, dx, part.start, frames, plane);
    }
    this.#forget();
    return dx ? { dx } : {};
  }

  /** Of the half's result: [B, C, F, H, W]. */
  get madeShape(): readonly [number, number, number, number, number] {
    return madeShapeOf(this.recipe, this.shape);
  }

  get #channels() {
    const { config, part } = this.recipe;
    return { x: inputChannels(config, part), y: this.madeShape[1] };
  }

  get #madeFrames(): number {
    return this.madeShape[2];
  }

  get #madePlane(): number {
    return this.madeShape[3] * this.madeShape[4];
  }

  #program(what: "forward" | "backward", index: number) {
    const shape = batchShape(this.shape, this.batches, index);
    const key = keyOf(this.recipe, what, shape);
    return this.#programs.get(key, () => (what === "forward" ? forwardGraph : backwardGraph)(this.recipe, shape));
  }

  /** Puts aside what the batch that ran has kept. */
  #keep(): void {
    const kept = new Map<string, OwnedBuffer>();
    this.#kept.push(kept);
    const usage = GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
    for (const [name, { bytes }] of this.#states.tensors) {
      if (!isCache(name)) continue;
      const owned = this.gpu.buffer(`kept.${name}`, bytes, usage);
      kept.set(name, owned);
      this.#copy(this.#states.buffer(name), owned.buffer, bytes);
    }
  }

  /** Brings back what had been kept before a batch, and forgets it. */
  #restore(index: number): void {
    if (index === 0 || index === this.batches.length - 1) return;
    for (const [name, owned] of this.#kept[index - 1]!) {
      const { bytes } = this.#states.tensors.get(name)!;
      this.#copy(owned.buffer, this.#states.buffer(name), bytes);
      owned[Symbol.dispose]();
    }
    this.#kept.length = index - 1;
  }

  #copy(from: GPUBuffer, to: GPUBuffer, bytes: number): void {
    const encoder = this.gpu.device.createCommandEncoder();
    encoder.copyBufferToBuffer(from, 0, to, 0, Math.ceil(bytes / 4) * 4);
    this.gpu.device.queue.submit([encoder.finish()]);
  }

  #forget(): void {
    for (const kept of this.#kept.splice(0)) for (const owned of kept.values()) owned[Symbol.dispose]();
    this.#inputs = undefined;
  }

  [Symbol.dispose](): void {
    this.#forget();
    for (const one of this.owned) one[Symbol.dispose]();
  }
}

/** All states of clips that go through halves, those that `others` hold excepted. */
export function statesOf(gpu: Gpu, halves: readonly (readonly [HalfRecipe, VideoShape])[], others: States): States {
  for (const [recipe, shape] of halves) checkVideoShape(recipe.config, recipe.part, shape);
  const graphs = halves.flatMap(([recipe, shape]) => [...halfGraphs(recipe, shape).values()].map((record) => ({ graph: record() })));
  return new States(gpu, graphs, others);
}

function batchShape({ batch, height, width }: VideoShape, batches: readonly ClipBatch[], index: number): FrameBatchShape {
  const { frames } = batches[index]!;
  return { batch, frames, height, width, continues: index > 0, continued: index < batches.length - 1 };
}

const keyOf = ({ part }: HalfRecipe, what: string, { frames, continues, continued }: FrameBatchShape): string =>
  [part, what, frames, +continues, +continued].join(" ");

/** The graphs of a clip, each once. */
function halfGraphs(recipe: HalfRecipe, shape: VideoShape): Map<string, () => Graph> {
  const batches = clipBatches(recipe, shape);
  return new Map(
    batches.flatMap((_, i) => {
      const of = batchShape(shape, batches, i);
      return [
        [keyOf(recipe, "forward", of), () => forwardGraph(recipe, of)],
        [keyOf(recipe, "backward", of), () => backwardGraph(recipe, of)],
      ] as const;
    }),
  );
}

/** The parameters of one half or both, and the sums of their gradients, in zeros: what {@link FrameBatches} shares with an update. */
export function halfStates(gpu: Gpu, ...recipes: readonly HalfRecipe[]): States {
  const graphs = recipes.map(({ objective: _, ...recipe }) => {
    const side = recipe.part === "encode" ? spatialRatio(recipe.config) : 1;
    // The smallest picture has the same parameters as any clip.
    return { graph: backwardGraph(recipe, { batch: 1, frames: 1, height: side, width: side, continues: false, continued: false }) };
  });
  return new States(gpu, graphs);
}

export interface FrameBatchNeeds {
  readonly plans: readonly Plan[];
  /** The largest plan: activations, inputs and outputs. */
  readonly activations: number;
  /** What convolutions keep from one batch to the next, with its gradients; and what is put aside between forward and backward. */
  readonly caches: number;
  readonly putAside: number;
  /** Frozen weights, parameters and the sums of their gradients. */
  readonly weights: number;
  readonly total: number;
}

/** What a clip's forward and backward take on an adapter; nothing is loaded. */
export function frameBatchNeeds(caps: Capabilities, recipe: HalfRecipe, shape: VideoShape): FrameBatchNeeds {
  checkVideoShape(recipe.config, recipe.part, shape);
  const plans = [...halfGraphs(recipe, shape).values()].map((record) => compile(record(), caps));
  const states = new Map(plans.flatMap(({ graph }) => [...graph.states]).map(([name, { bytes }]) => [name, bytes]));
  const sum = (which: (name: string) => boolean) => [...states].reduce((n, [name, bytes]) => n + (which(name) ? bytes : 0), 0);
  const caches = sum(isCache);
  const between = sum(isBetween);
  const activations = Math.max(...plans.map(({ bytes }) => bytes.activations + bytes.io));
  const weights = sum((name) => !isBetween(name)) + Math.max(...plans.map(({ bytes }) => bytes.weights));
  const putAside = caches * Math.max(0, clipBatches(recipe, shape).length - 2);
  return { plans, activations, caches: between, putAside, weights, total: activations + between + putAside + weights };
}
