/** Training as a worker of a queue takes part in it beside its jobs. */
import type { Hint, JobBackend } from "../jobs/backend.ts";
import type { OpenModel, OtherWork } from "../jobs/other-work.ts";
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import { type RankModel, rankModel } from "./rank-model.ts";
import { HINTS } from "./records.ts";
import { RankWorker, type RankWorkerOptions } from "./worker.ts";

export class RankWork implements OtherWork, Disposable {
  readonly prefix = HINTS;
  readonly #worker: RankWorker;
  readonly #models = new WeakMap<CogVideoX, Promise<RankModel>>();

  constructor(backend: JobBackend, options: RankWorkerOptions) {
    this.#worker = new RankWorker(backend, options);
  }

  async take(hint: Hint, open: readonly OpenModel[], signal: AbortSignal, makeRoom: () => void): Promise<void> {
    makeRoom();
    const models = await Promise.all(open.map(({ served, model }) => this.#modelOf(served, model, signal)));
    await this.#worker.take(hint, models, signal);
  }

  #modelOf({ name, stored }: OpenModel["served"], model: CogVideoX, signal: AbortSignal): Promise<RankModel> {
    const known = this.#models.get(model);
    if (known) return known;
    const made = rankModel(name, model, stored, signal);
    this.#models.set(model, made);
    // What could not be read is tried anew.
    made.catch(() => this.#models.delete(model));
    return made;
  }

  release(): void {
    this.#worker.release();
  }

  [Symbol.dispose](): void {
    this.#worker[Symbol.dispose]();
  }
}
