/** One worker: its piece of clips on one device, with weights that change from step to step. */
import { CogwheelError } from "../../../base/errors.ts";
import type { Gpu } from "../../../gpu/gpu.ts";
import type { DType } from "../../../graph/dtype.ts";
import type { Graph } from "../../../graph/graph.ts";
import type { StoredWeight } from "../../../graph/stored.ts";
import { encodedFrames, partBatches } from "../../../models/vae/batches.ts";
import type { VaeConfig } from "../../../models/vae/config.ts";
import type { ExchangeGraph } from "../../../models/vae/split/exchange-graph.ts";
import type { Peer } from "../../../models/vae/split/peer.ts";
import { type Deal, pieceGraph } from "../../../models/vae/split/piece.ts";
import { PieceRun } from "../../../models/vae/split/run.ts";
import { piecesOf, unitsOf } from "../../../models/vae/split/units.ts";
import { channelsLast } from "../../../ops/channels.ts";
import { widen } from "../../../run/program.ts";
import { storedValues, type WeightProvider } from "../../../run/weight-provider.ts";
import { WeightStore } from "../../../run/weight-store.ts";
import { recordGeneratorLosses } from "../losses.ts";
import { latentSize } from "../sample.ts";
import { trainedVae } from "../trained.ts";
import { backwardPiece, type PieceObjective } from "./backward.ts";
import type { PieceClip, PieceProgram, PieceRecipe, PieceResult, PieceWeight, PieceWork } from "./types.ts";

/** Weights on a device, of one worker or of all that share the device. */
export class PieceWeights implements WeightProvider, Disposable {
  readonly store: WeightStore;
  readonly #values = new Map<string, PieceWeight>();

  constructor(readonly gpu: Gpu) {
    this.store = new WeightStore(gpu, this);
  }

  async give(weights: ReadonlyMap<string, PieceWeight>): Promise<void> {
    for (const [name, weight] of weights) this.#values.set(name, weight);
    await this.store.renew((names) => names.some((name) => weights.has(name)));
  }

  type(name: string): DType {
    return this.#of(name).type;
  }

  stored(name: string): StoredWeight {
    const { data, shape } = this.#of(name);
    return storedValues(name, data, shape);
  }

  #of(name: string): PieceWeight {
    const found = this.#values.get(name);
    if (!found)
      throw new CogwheelError("training", `a worker must be given every weight that it reads, got none for ${name}; report this`, {
        code: "failed",
      });
    return found;
  }

  [Symbol.dispose](): void {
    this.store[Symbol.dispose]();
  }
}

/** A clip's units are its latent frames, in either half; the pieces of workers. */
export function dealOf(config: VaeConfig, half: "encode" | "decode", { frames, workers }: Pick<PieceClip, "frames" | "workers">): Deal {
  const latents = partBatches("encode", frames).reduce((n, batch) => n + encodedFrames(config, batch.frames), 0);
  const units = unitsOf(config, half, half === "encode" ? frames : latents);
  return { units, pieces: piecesOf(units.length, workers) };
}

/** What runs of such clips. */
export function programsOf(part: PieceRecipe["part"], judged: boolean): readonly PieceProgram[] {
  return [
    ...(part === "decoder" ? [] : (["encode", "encode back"] as const)),
    ...(judged ? (["decode", "decode back"] as const) : []),
    "decode losses",
  ];
}

/** The losses of each unit, with its pixels as the input `target.i`, i the unit's place in the piece. */
const unitLosses =
  ({ config, dtype, lpips }: PieceRecipe, asked: boolean): PieceObjective =>
  (graph: Graph, made) => {
    const parts = made.map(({ made: one }, i) => {
      const [batch, frames, height, width] = one.shape as [number, number, number, number];
      return { made: one, target: graph.unwatched(() => channelsLast(graph.input(`target.${i}`, [batch, 3, frames, height, width]))) };
    });
    return recordGeneratorLosses(graph, parts, { latents: config.latent_channels, dtype, ...(asked && lpips ? { lpips } : {}) });
  };

/** The graph of a worker's piece. */
export function workGraph(
  recipe: PieceRecipe,
  provider: Pick<WeightProvider, "type">,
  clip: PieceClip,
  program: PieceProgram,
  worker: number,
): ExchangeGraph {
  const { config, dtype, part } = recipe;
  const half = program.startsWith("encode") ? "encode" : "decode";
  const size = half === "encode" ? clip : latentSize(config, clip);
  const deal = dealOf(config, half, clip);
  const options = { part: half, batch: clip.clips, height: size.height, width: size.width, dtype } as const;
  if (program === half) return pieceGraph(config, provider, deal, worker, { ...options, format: "sample" });
  const trained = trainedVae(config, part);
  return backwardPiece(config, provider, deal, worker, {
    ...options,
    trained: (name) => trained.has([name]),
    ...(program === "decode losses" ? { objective: unitLosses(recipe, clip.lpips) } : {}),
  });
}

export class PieceEngine implements Disposable {
  #run: { readonly key: string; readonly run: PieceRun; readonly programs: readonly PieceProgram[] } | undefined;
  #given = { haloBytes: 0, normBytes: 0, waitingSeconds: 0 };

  /** @param weights what several workers share, or one's own: they stay their owner's */
  constructor(
    private readonly recipe: PieceRecipe,
    private readonly weights: PieceWeights,
    private readonly worker: number,
  ) {}

  /** One run among its peers. Results that somebody wants are read: those of units, gradients, losses. */
  async run(
    { clip, program, turn }: PieceWork,
    inputs: Readonly<Record<string, Float32Array>>,
    peer: Peer,
    signal?: AbortSignal,
  ): Promise<PieceResult> {
    const begun = performance.now();
    const { run, programs } = await this.#opened(clip, signal);
    const index = programs.indexOf(program);
    await run.run(index, turn, { ...inputs }, peer, signal ? { signal } : {});
    const outputs = new Map<string, Float32Array>();
    const back = program !== "encode" && program !== "decode";
    // The gradient with respect to latents goes on to the encoder, where that is trained.
    const unread = [...(back ? ["y."] : []), ...(program.startsWith("decode") && this.recipe.part !== "decoder" ? [] : ["dx."])];
    for (const name of run.outputs(index)) {
      if (unread.some((prefix) => name.startsWith(prefix))) continue;
      const { bytes, y } = await run.read(index, name, signal);
      outputs.set(name, widen(bytes, y.dtype));
    }
    const whole = run.report(this.worker, dealOf(this.recipe.config, "encode", clip).pieces[this.worker]!);
    const before = this.#given;
    this.#given = whole;
    const report = {
      ...whole,
      haloBytes: whole.haloBytes - before.haloBytes,
      normBytes: whole.normBytes - before.normBytes,
      waitingSeconds: whole.waitingSeconds - before.waitingSeconds,
      seconds: (performance.now() - begun) / 1000,
    };
    return { outputs, report, flops: run.flops(index) };
  }

  async #opened(clip: PieceClip, signal: AbortSignal | undefined) {
    const key = JSON.stringify(clip);
    if (this.#run?.key === key) return this.#run;
    this[Symbol.dispose]();
    const programs = programsOf(this.recipe.part, clip.judged);
    const graphs = programs.map((program) => workGraph(this.recipe, this.weights, clip, program, this.worker));
    const run = await PieceRun.create(this.weights.gpu, this.weights.store, graphs, signal ? { signal } : {});
    this.#given = { haloBytes: 0, normBytes: 0, waitingSeconds: 0 };
    return (this.#run = { key, run, programs });
  }

  [Symbol.dispose](): void {
    this.#run?.run[Symbol.dispose]();
    this.#run = undefined;
  }
}
