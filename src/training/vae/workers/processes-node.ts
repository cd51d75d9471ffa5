/**
 * Worker processes of a VAE's training on this machine, each with a device of its own. This process hands their regions from one to
 * another. One that dies, or fails, ends the others at once, and is named.
 */
import { CogwheelError } from "../../../base/errors.ts";
import { each, scriptOf, WorkerProcess } from "../../../pipelines/workers/node.ts";
import type { WorkerPlace } from "../../../pipelines/workers/types.ts";
import { type FromTrainingWorker, packArrays, type PieceOpening, type ToTrainingWorker, unpackArrays } from "./messages.ts";
import type { PieceRecipe, PieceResult, PieceWeight, PieceWork, PieceWorkers } from "./types.ts";

type Worker = WorkerProcess<ToTrainingWorker, FromTrainingWorker>;

export class TrainingProcesses implements PieceWorkers {
  #workers: readonly Worker[] | undefined;
  /** Were they told what they are of? */
  #opened = false;
  #ended = false;

  /** @param places one for each worker @param device how devices are opened, of what JSON can say */
  constructor(
    private readonly places: readonly WorkerPlace[],
    private readonly device: Readonly<Record<string, unknown>>,
    private readonly onWarning: (text: string) => void = () => undefined,
  ) {}

  get count(): number {
    return this.places.length;
  }

  async give(recipe: PieceRecipe, weights: ReadonlyMap<string, PieceWeight>): Promise<void> {
    this.#workers ??= this.#start();
    const opened = this.#opened;
    this.#opened = true;
    const arrays = packArrays([...weights].map(([name, weight]) => ({ name, ...weight })));
    await this.#together(async (worker, index) => {
      if (!opened) {
        const { adapter } = this.places[index]!;
        const device = { ...this.device, ...(adapter === undefined ? {} : { adapter }) };
        const opening: PieceOpening = { recipe, index, workers: this.count, device };
        worker.send({ type: "open" }, [new TextEncoder().encode(JSON.stringify(opening))]);
        await this.#until(worker, index, "ready");
      }
      worker.send({ type: "weights" }, arrays);
      await this.#until(worker, index, "given");
    });
  }

  async run(work: PieceWork, inputs: readonly Readonly<Record<string, Float32Array>>[]): Promise<readonly PieceResult[]> {
    const results: PieceResult[] = [];
    // All are told before any is heard: regions come after the work that they are for.
    for (const [i, worker] of (this.#ended ? [] : (this.#workers ?? [])).entries())
      worker.send({ type: "run", work }, packArrays(Object.entries(inputs[i]!).map(([name, data]) => ({ name, data }))));
    await this.#together(async (worker, index) => {
      const { message, bytes } = await this.#until(worker, index, "result");
      const { report, flops } = message as FromTrainingWorker & { readonly type: "result" };
      results[index] = { outputs: new Map(unpackArrays(bytes).map(({ name, data }) => [name, data])), report, flops };
    });
    return results;
  }

  /** Hands on what a worker puts, until it says what is waited for. */
  async #until(worker: Worker, index: number, type: FromTrainingWorker["type"]) {
    for (;;) {
      const got = await worker.next();
      const { message, bytes } = got;
      if (message.type === type) return got;
      if (message.type === "warning" && index === 0) this.onWarning(message.text);
      if (message.type === "put") this.#workers![message.to]!.send({ type: "region", from: index, region: message.region }, [bytes]);
    }
  }

  #start(): readonly Worker[] {
    const script = scriptOf("cogwheel-train-worker.js");
    return this.places.map((place, i): Worker => new WorkerProcess(`worker ${i + 1} of ${this.count}`, script, place));
  }

  async #together(work: (worker: Worker, index: number) => Promise<void>): Promise<void> {
    const workers = this.#workers;
    if (!workers || this.#ended)
      throw new CogwheelError("training", "workers compute until one ends, got them ended; go on with the run anew", { code: "failed" });
    for (const worker of workers) worker.hold(true);
    try {
      await each(workers, work);
      for (const worker of workers) worker.hold(false);
    } catch (error) {
      // Where one has ended the others would wait for it.
      this[Symbol.dispose]();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#ended = true;
    for (const worker of this.#workers ?? []) worker.kill();
  }
}
