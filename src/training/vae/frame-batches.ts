/**
 * One half of a VAE over a clip in its batches of frames, forward and then backward in reverse order. A clip may be longer than memory:
 * between batches only their inputs and the frames that convolutions kept stay, everything else is computed once more on the way back.
 *
 *   const decoder = await FrameBatches.create(gpu, store, states, recipe, clip);
 *   const video = await decoder.forward(latents);
 *   const { dx } = await decoder.backward({ cotangent });   // gradient:NAME in states hold the parameters' gradients
 */
import { CogwheelError } from "../../base/errors.ts";
import type { Gpu } from "../../gpu/gpu.ts";
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
import type { CompileOptions } from "../../plan/compile.ts";
import type { Program } from "../../run/program.ts";
import { States } from "../../run/states.ts";
import type { WeightStore } from "../../run/weight-store.ts";
import { type ProgramMaker, Programs } from "../programs.ts";
import { backwardGraph, type Beside, type FrameBatchShape, forwardGraph, type HalfRecipe, isCache } from "./half-graphs.ts";

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

/** What graphs of a batch of frames are given, and tell, besides the half's own. */
export interface BatchCalls {
  /** What further inputs hold, batch by batch. */
  readonly inputs?: (batch: ClipBatch, index: number, graph: Graph) => Record<string, ArrayBufferView>;
  /** Takes further outputs, batch by batch. */
  readonly outputs?: (read: (name: string) => Promise<Float32Array>, batch: ClipBatch, index: number, graph: Graph) => void | Promise<void>;
}

export interface ClipForwardOptions extends BatchCalls {
  /** Is the last batch left out, whose result nobody asks for? It is zeros then. */
  readonly withoutLast?: boolean;
  /** Do batches of another half run before the way back? What the last batch reads is put aside then too. Default false. */
  readonly putAside?: boolean;
  /** What else is recorded over what each batch makes, under a name of its own. */
  readonly beside?: { readonly key: string; readonly record: Beside };
  readonly signal?: AbortSignal | undefined;
}

export interface ClipBackwardOptions extends BatchCalls {
  /** Of the half's result [B, C, F, H, W]; not where the recipe has an objective. The last batch comes first. */
  readonly cotangent?: Float32Array;
  /** Are there gradients that these are added to? Default false. */
  readonly begun?: boolean;
  readonly signal?: AbortSignal | undefined;
}

export class FrameBatches implements Disposable {
  readonly batches: readonly ClipBatch[];
  readonly #programs: ProgramMaker;
  readonly #states: States;
  /**
   * What convolutions had kept before each batch but the first, by state, in the host's memory: so a clip takes no more on the device than
   * its batches do, however long it is. Before the last one it may be in the states still.
   */
  readonly #kept: Map<string, ArrayBuffer>[] = [];
  #inputs: Float32Array | undefined;

  /** @param programs of a clip, whose states are `states`: both stay their owner's */
  constructor(
    private readonly gpu: Gpu,
    private readonly recipe: HalfRecipe,
    private readonly shape: VideoShape,
    programs: ProgramMaker,
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
  async forward(x: Float32Array, options: ClipForwardOptions = {}): Promise<Float32Array> {
    const { withoutLast = false, putAside = false, beside, signal } = options;
    const { batch, frames, height, width } = this.shape;
    const [rows, plane] = [batch * this.#channels.x, height * width];
    if (x.length !== rows * frames * plane)
      throw new CogwheelError("training", `a clip must have ${rows} × ${frames} × ${plane} values, got ${x.length}; check its size`);
    this.#forget();
    this.#inputs = x;
    const whole = new Float32Array(batch * this.#channels.y * this.#madeFrames * this.#madePlane);
    const last = this.batches.length - 1;
    for (const [i, part] of this.batches.entries()) {
      if (i === last && withoutLast) break;
      const program = await this.#program("forward", i, beside);
      await program.run({
        inputs: { x: takeFrames(x, part, frames, plane, rows), ...options.inputs?.(part, i, program.plan.graph) },
        ...(signal ? { signal } : {}),
      });
      await options.outputs?.((name) => program.read(name, signal), part, i, program.plan.graph);
      placeFrames(await program.read("y", signal), part.madeFrames, whole, part.madeStart, this.#madeFrames, this.#madePlane);
      if (i < last - 1 || (i === last - 1 && putAside)) this.#kept.push(await this.#keep(program, signal));
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
      if (i > 0) this.#restore(i - 1);
      const made = { start: part.madeStart, frames: part.madeFrames };
      await program.run({
        inputs: {
          x: takeFrames(x, part, frames, plane, rows),
          ...(cotangent ? { dy: takeFrames(cotangent, made, madeFrames, madePlane, madeRows) } : {}),
          ...inputs?.(part, i, program.plan.graph),
          ...(program.plan.graph.inputs.has("begun") ? { begun: Float32Array.of(+(begun || i < this.batches.length - 1), 0, 0, 0) } : {}),
        },
        ...(signal ? { signal } : {}),
      });
      await outputs?.((name) => program.read(name, signal), part, i, program.plan.graph);
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

  #program(what: "forward" | "backward", index: number, beside?: ClipForwardOptions["beside"]) {
    const shape = batchShape(this.shape, this.batches, index);
    const key = keyOf(this.recipe, beside ? `${what} ${beside.key}` : what, shape);
    return this.#programs.get(key, () =>
      what === "forward" ? forwardGraph(this.recipe, shape, beside?.record) : backwardGraph(this.recipe, shape),
    );
  }

  /** What the batch that ran has kept. */
  async #keep({ plan }: Program, signal: AbortSignal | undefined): Promise<Map<string, ArrayBuffer>> {
    const kept = new Map<string, ArrayBuffer>();
    for (const [name, { bytes }] of plan.graph.states)
      if (isCache(name)) kept.set(name, await this.gpu.read(this.#states.buffer(name), 0, bytes, signal));
    return kept;
  }

  /** Brings back what a batch had kept, and forgets it. */
  #restore(index: number): void {
    for (const [name, bytes] of this.#kept[index] ?? []) this.gpu.device.queue.writeBuffer(this.#states.buffer(name), 0, bytes);
    if (this.#kept.length > index) this.#kept.length = index;
  }

  #forget(): void {
    this.#kept.length = 0;
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
  const graphs = halves.flatMap(([recipe, shape]) => halfGraphs(recipe, shape).map(({ record }) => ({ graph: record() })));
  return new States(gpu, graphs, others);
}

function batchShape({ batch, height, width }: VideoShape, batches: readonly ClipBatch[], index: number): FrameBatchShape {
  const { frames } = batches[index]!;
  return { batch, frames, height, width, continues: index > 0, continued: index < batches.length - 1 };
}

const keyOf = ({ part }: HalfRecipe, what: string, { frames, continues, continued }: FrameBatchShape): string =>
  [part, what, frames, +continues, +continued].join(" ");

/** A graph of batches of a clip's frames, and how many of them it is of. */
export interface HalfGraph {
  readonly key: string;
  readonly what: "forward" | "backward";
  readonly shape: FrameBatchShape;
  readonly times: number;
  record(): Graph;
}

/** The graphs of a clip, each once. @param beside what else is recorded over what a batch makes, on the way forward */
export function halfGraphs(recipe: HalfRecipe, shape: VideoShape, beside?: Beside): HalfGraph[] {
  const batches = clipBatches(recipe, shape);
  const all = batches.flatMap((_, i): HalfGraph[] => {
    const of = batchShape(shape, batches, i);
    const graph = (what: HalfGraph["what"], record: () => Graph): HalfGraph => {
      const key = keyOf(recipe, what, of);
      const times = batches.filter((_, j) => keyOf(recipe, what, batchShape(shape, batches, j)) === key).length;
      return { key, what, shape: of, times, record };
    };
    return [graph("forward", () => forwardGraph(recipe, of, beside)), graph("backward", () => backwardGraph(recipe, of))];
  });
  return [...new Map(all.map((one) => [one.key, one])).values()];
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
