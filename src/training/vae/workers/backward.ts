/**
 * A worker's piece of a clip forward and backward in one graph, so that gradients are those of the whole clip, to the bit, however many
 * workers hold it. Backwards, the gradient with respect to the frames that the next piece's convolutions looked back on comes from its
 * worker, and goes on to the worker before; a norm's sums (of dy, and of dy times what was normalised) are joined as its records were.
 *
 * Gradients of weights are one sum over the latent frames, from the last to the first: each worker adds those of its own to what the worker
 * after it had so far. So the order of the additions is that of one worker.
 */
import { CogwheelError } from "../../../base/errors.ts";
import { type Cotangent, differentiate } from "../../../gradient/differentiate.ts";
import { watch } from "../../../gradient/watch.ts";
import type { Graph } from "../../../graph/graph.ts";
import type { Node } from "../../../graph/op.ts";
import type { Tensor } from "../../../graph/tensor.ts";
import type { VaeConfig } from "../../../models/vae/config.ts";
import type { ExchangeGraph, Halo, PieceOptions, SharedNorm } from "../../../models/vae/split/exchange-graph.ts";
import {
  type Deal,
  holdersOf,
  inputOf,
  outputOf,
  pieceGraph,
  type PieceGraph,
  type PieceStep,
  recordsOfBatch,
} from "../../../models/vae/split/piece.ts";
import type { Unit } from "../../../models/vae/split/units.ts";
import { add } from "../../../ops/add.ts";
import { cast } from "../../../ops/cast.ts";
import { causalCacheGradient } from "../../../ops/causal_cache_gradient.ts";
import { groupNormApplyOp } from "../../../ops/group_norm_apply.ts";
import { groupNormGradient } from "../../../ops/group_norm_gradient.ts";
import { groupNormGradientMerge } from "../../../ops/group_norm_gradient_merge.ts";
import { type GroupNormGradientAttrs, type GroupNormGradientInputs, groupNormGradientSums } from "../../../ops/group_norm_gradient_sums.ts";
import { groupNormMergeOp } from "../../../ops/group_norm_merge.ts";
import { groupNormStatsOp } from "../../../ops/group_norm_stats.ts";
import type { WeightProvider } from "../../../run/weight-provider.ts";

/** Inputs `dy.UNIT`: the gradient with respect to what comes out of a unit. */
export const cotangentOf = (unit: number): string => `dy.${unit}`;
/** Outputs: the gradient with respect to what goes into a unit, and those with respect to weights, where a worker has their last part. */
export const inputGradientOf = (unit: number): string => `dx.${unit}`;
export const weightGradientOf = (name: string): string => `gradient.${name}`;

/** What one unit is made into: moments or pixels [B, F, H, W, C padded] with channels last. */
export interface MadeUnit {
  readonly unit: Unit;
  readonly made: Tensor;
}

/** Records losses over what a worker's units are made into, each by itself, and says where gradients begin. */
export type PieceObjective = (graph: Graph, made: readonly MadeUnit[]) => readonly Cotangent[];

export interface PieceBackwardOptions extends Omit<PieceOptions, "format"> {
  /** Of which weights gradients are asked for, by state-dict name. Default: of all. */
  readonly trained?: (name: string) => boolean;
  /** Default: the inputs `dy.UNIT` [B, C', T', H', W'] are the gradients with respect to what comes out of the units. */
  readonly objective?: PieceObjective;
}

/** A piece's forward pass, which gives values and not pixels, and its gradients. */
export function backwardPiece(
  config: VaeConfig,
  provider: Pick<WeightProvider, "type">,
  deal: Deal,
  worker: number,
  options: PieceBackwardOptions,
): ExchangeGraph {
  const piece = pieceGraph(config, provider, deal, worker, { ...options, format: "sample" });
  const { graph } = piece;
  const own = deal.units.slice(deal.pieces[worker]!.from, deal.pieces[worker]!.to);
  const results = own.map((unit) => ({ unit, y: graph.outputs.get(outputOf(unit))! }));
  /** What a unit's result was put in order from; watched, for it is where the rules of ops come from. */
  const madeOf = (y: Tensor): Tensor => watch(graph.nodes.find(({ outputs }) => outputs["y"] === y)!.inputs["x"]!);
  const made = results.map(({ unit, y }): MadeUnit => ({ unit, made: madeOf(y) }));
  const begun = options.objective
    ? gradientsOf(graph, made, options.objective)
    : results.map(({ unit, y }) => ({ of: y, gradient: graph.input(cotangentOf(unit.index), y.shape) }));
  return graph.unwatched(() => new Backward(graph, piece, deal, worker, options.trained ?? (() => true)).record(begun));
}

/** The gradients of an objective with respect to what it is over. */
function gradientsOf(graph: Graph, made: readonly MadeUnit[], objective: PieceObjective): Cotangent[] {
  const found = differentiate(
    objective(graph, made),
    made.map((one) => one.made),
  );
  return made.map(({ unit, made: of }, i) => {
    const gradient = found[i];
    if (!gradient)
      throw new CogwheelError("training", `an objective must depend on every frame that is made, got none for latent frame ${unit.index}`);
    return { of, gradient };
  });
}

class Backward {
  readonly #gradients = new Map<Tensor, Tensor>();
  /** Sums of weights' gradients so far, by the weight. */
  readonly #sums = new Map<Tensor, Tensor>();
  /** Norms whose gradients wait for those of their other units. */
  readonly #norms = new Map<Tensor, { readonly node: Node; readonly dy: Tensor; readonly sums: Tensor }[]>();
  readonly #gives: Halo[];
  readonly #takes: Halo[];
  readonly #shared: SharedNorm[];

  constructor(
    private readonly graph: Graph,
    private readonly piece: PieceGraph,
    private readonly deal: Deal,
    private readonly worker: number,
    private readonly trained: (name: string) => boolean,
  ) {
    this.#gives = [...piece.gives];
    this.#takes = [...piece.takes];
    this.#shared = [...piece.norms];
  }

  /** @param begun gradients with respect to what the units are made into, or to their results */
  record(begun: readonly Cotangent[]): ExchangeGraph {
    const { graph, piece, deal, worker } = this;
    const { from, to } = deal.pieces[worker]!;
    const own = deal.units.slice(from, to);
    for (const { of, gradient } of begun) this.#add(of, gradient);
    for (const give of piece.gives) {
      const { tensor, region } = give;
      const gradient = graph.input(`gradient of ${region}`, tensor.shape, tensor.dtype);
      this.#takes.push({ ...give, region: `gradient ${region}`, tensor: gradient });
      this.#add(tensor, gradient);
    }
    // Layer by layer, and in each from the last unit to the first.
    const steps = [...piece.steps].sort((a, b) => b.layer - a.layer || b.unit.index - a.unit.index);
    for (const step of steps) {
      const { node } = step;
      if (node.op === groupNormStatsOp) continue;
      if (node.scope) graph.scope(node.scope, () => this.#through(step));
      else this.#through(step);
    }
    for (const take of piece.takes) {
      const gradient = this.#gradients.get(take.tensor)!;
      const tensor = gradient.dtype === take.tensor.dtype ? gradient : cast(gradient, take.tensor.dtype as "f32" | "f16");
      this.#gives.push({ ...take, region: `gradient ${take.region}`, tensor: tensor.root });
    }
    for (const unit of own) graph.output(inputGradientOf(unit.index), this.#gradients.get(graph.inputs.get(inputOf(unit))!)!);
    return { graph, gives: this.#gives, takes: this.#takes, norms: this.#shared };
  }

  #through(step: PieceStep): void {
    const { node, unit } = step;
    if (node.op === groupNormMergeOp) {
      this.#throughNorm(node, unit.batch);
      return;
    }
    const [y] = Object.values(node.outputs) as [Tensor];
    const dy = this.#gradients.get(y);
    if (!dy) return; // an objective's gradients begin before what puts results in order
    if (node.op === groupNormApplyOp) {
      const inputs = { ...node.inputs, dy } as unknown as GroupNormGradientInputs;
      const { sums, dscale, dshift } = groupNormGradientSums(inputs, node.attrs as GroupNormGradientAttrs);
      if (inputs.scale) {
        this.#add(inputs.scale, dscale!);
        this.#add(inputs.shift!, dshift!);
      }
      const norm = inputs.norm.root;
      // From the first of its units on, as their records are joined.
      this.#norms.set(norm, [{ node, dy, sums: sumOfSlices(sums) }, ...(this.#norms.get(norm) ?? [])]);
      return;
    }
    const weights = (tensor: Tensor): boolean => tensor.root.role === "weight" && tensor.root.weights.every((name) => this.trained(name));
    const want = new Set(
      Object.entries(node.inputs).flatMap(([name, tensor]) => (tensor && (tensor.root.role !== "weight" || weights(tensor)) ? [name] : [])),
    );
    const gradients = this.graph.ruleOf(node.op).gradient!(node, { [Object.keys(node.outputs)[0]!]: dy }, want);
    for (const name of want) {
      const gradient = gradients[name];
      if (!gradient) continue;
      const tensor = node.inputs[name]!;
      if (tensor.root.role === "weight")
        this.#addWeight(tensor, gradient, [...this.deal.pieces.keys()], unit.index === this.deal.pieces[this.worker]!.from);
      else this.#add(tensor, gradient);
    }
  }

  /** What all units of a batch give a norm. */
  #throughNorm(merge: Node, batch: number): void {
    const { graph, deal, worker } = this;
    const parts = this.#norms.get(merge.outputs["norm"]!)!;
    const records = parts.map(({ sums }) => sums);
    const names = { input: `sums.${merge.scope} ${batch}`, region: `gradient of norm ${merge.scope} of batch ${batch}` };
    const all = recordsOfBatch(graph, records, holdersOf(deal.units, deal.pieces, batch), names, this.#shared);
    const { norm, weight, bias } = parts[0]!.node.inputs as unknown as GroupNormGradientInputs;
    const merged = groupNormGradientMerge({ sums: all, norm, weight }, { groups: (merge.attrs as { groups: number }).groups });
    for (const { node, dy } of parts.toReversed()) {
      const inputs = { ...node.inputs, dy, norm: merged.norm } as unknown as GroupNormGradientInputs;
      this.#add(inputs.x, groupNormGradient(inputs, node.attrs as GroupNormGradientAttrs));
    }
    // A batch's own are added once, by the last worker that holds a part of it.
    const adderOf = (one: number): number => holdersOf(deal.units, deal.pieces, one).at(-1)!.worker;
    if (adderOf(batch) !== worker) return;
    const batches = [...new Set(deal.units.map((unit) => unit.batch))];
    const adders = [...new Set(batches.map(adderOf))];
    const mine = batches.filter((one) => adderOf(one) === worker);
    for (const [tensor, gradient] of [
      [weight, merged.dweight],
      [bias, merged.dbias],
    ] as const)
      if (tensor.root.weights.every((name) => this.trained(name))) this.#addWeight(tensor, gradient, adders, batch === mine[0]);
  }

  /**
   * Adds to a weight's gradient, after all that comes later in the clip.
   * @param adders the workers that add to it, in order @param last does this worker add nothing more?
   */
  #addWeight(weight: Tensor, gradient: Tensor, adders: readonly number[], last: boolean): void {
    const { graph, worker } = this;
    const { root } = weight;
    const name = root.weights.join("+");
    const place = adders.indexOf(worker);
    let before = this.#sums.get(root);
    const halo = (tensor: Tensor, other: number): Halo => {
      const width = tensor.dim(-1);
      return { region: `sum ${name}`, worker: other, tensor, padded: width, channels: width, dtype: "f32" };
    };
    if (!before && place < adders.length - 1) {
      before = graph.input(`sum.${name}`, gradient.shape);
      this.#takes.push(halo(before, adders[place + 1]!));
    }
    const sum = before ? add(before, gradient, "f32") : gradient;
    this.#sums.set(root, sum);
    if (!last) return;
    if (place > 0) this.#gives.push(halo(sum.root, adders[place - 1]!));
    else graph.output(weightGradientOf(name), sum);
  }

  #add(tensor: Tensor, gradient: Tensor): void {
    const { root } = tensor;
    const shaped = gradient.shape.join() === root.shape.join() ? gradient : this.graph.reshape(gradient, root.shape);
    const before = this.#gradients.get(root);
    this.#gradients.set(root, before ? add(before, shaped, before.dtype === "f32" ? "f32" : shaped.dtype) : shaped);
  }
}

/** sums [B, slices, 3, C] of a unit → one record [B, 1, 3, C]: their sum, which is the gradient of a frame that was repeated so often. */
function sumOfSlices(sums: Tensor): Tensor {
  const graph = sums.graph as Graph;
  const [b, slices, three, c] = sums.shape as [number, number, number, number];
  const { dx } = causalCacheGradient(graph.reshape(sums, [b, slices, three, 1, c]), { frames: 1, cached: false });
  return graph.reshape(dx, [b, 1, three, c]);
}
