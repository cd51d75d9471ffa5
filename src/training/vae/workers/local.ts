/** Virtual workers: all in this process, on one device whose weights they share, each with memory of its own. */
import type { Gpu } from "../../../gpu/gpu.ts";
import { amongPeers } from "../../../models/vae/split/peer.ts";
import { PieceEngine, PieceWeights } from "./engine.ts";
import type { PieceRecipe, PieceResult, PieceWeight, PieceWork, PieceWorkers } from "./types.ts";

export class LocalWorkers implements PieceWorkers {
  readonly #weights: PieceWeights;
  #engines: readonly PieceEngine[] = [];

  constructor(
    gpu: Gpu,
    readonly count: number,
  ) {
    this.#weights = new PieceWeights(gpu);
  }

  async give(recipe: PieceRecipe, weights: ReadonlyMap<string, PieceWeight>): Promise<void> {
    if (!this.#engines.length) this.#engines = Array.from({ length: this.count }, (_, i) => new PieceEngine(recipe, this.#weights, i));
    await this.#weights.give(weights);
  }

  run(work: PieceWork, inputs: readonly Readonly<Record<string, Float32Array>>[], signal?: AbortSignal): Promise<readonly PieceResult[]> {
    return amongPeers(this.count, (peer) => this.#engines[peer.index]!.run(work, inputs[peer.index]!, peer, signal));
  }

  [Symbol.dispose](): void {
    for (const engine of this.#engines) engine[Symbol.dispose]();
    this.#weights[Symbol.dispose]();
  }
}
