/**
 * Takes part in runs of training that others lead: takes micro-steps, or rounds of replicas, by the hints of a queue, each under a lease,
 * and gives what they come to. It needs the model alone; clips, noise and parameters come with them.
 */
import { CogwheelError } from "../base/errors.ts";
import type { Hint, JobBackend } from "../jobs/backend.ts";
import { Leaving } from "../jobs/leaving.ts";
import { type BlobReference, doTask, getBlob } from "../jobs/tasks.ts";
import { ReplicaEngine } from "../training/diloco/replica-engine.ts";
import type { ReplicaTask } from "../training/diloco/replica-workers.ts";
import type { MicroBatch } from "../training/micro-batch.ts";
import { MicroEngine } from "../training/micro-engine.ts";
import { parametersOf, resultBytes, taskOf, valueBytes, valueIn } from "./arrays.ts";
import type { RankModel } from "./rank-model.ts";
import { microKey, parseHint, readShared, runKey, type SharedMicro, type SharedRun, takesRounds } from "./records.ts";

export interface RankWorkerOptions {
  /** What it is called, as of all that it works on. */
  readonly id: string;
  /** Of the engine. */
  readonly version: string;
  /** Others take a micro-step over when its worker was not heard of for so long. Default 30 s. */
  readonly leaseMs?: number;
  /** Of the adapter's memory: frozen weights come and go where all of them are too much. Default: as much as it takes. */
  readonly memoryBytes?: number;
  readonly onNote?: (message: string) => void;
}

/** What is ready to compute for a run. */
interface Ready {
  /** The run, its recipe and the model, as one text. */
  readonly of: string;
  readonly engine: MicroEngine | ReplicaEngine;
  /** Of the step that was last computed. */
  parameters: { readonly blob: string; readonly values: ReadonlyMap<string, Float32Array> } | undefined;
}

export class RankWorker implements Disposable {
  readonly #leaseMs: number;
  #ready: Ready | undefined;
  readonly #leaving: Leaving;

  constructor(
    private readonly backend: JobBackend,
    private readonly options: RankWorkerOptions,
  ) {
    this.#leaseMs = options.leaseMs ?? 30_000;
    this.#leaving = new Leaving(options.onNote);
  }

  /** Computes the micro-step that a hint names, if that is still wanted. @param models that it may compute with */
  async take(hint: Hint, models: readonly RankModel[], signal: AbortSignal): Promise<void> {
    const named = parseHint(hint.job);
    const run = named && (await readShared<SharedRun>(this.backend.values, runKey(named.run)))?.record;
    if (!run || run.until <= Date.now()) return await hint.done();
    const model = this.#suitable(run, models);
    if (!model || this.#leaving.isLeft(run.id)) return await this.#leaving.giveBack(hint, signal);
    const { id } = this.options;
    const place = {
      key: microKey(named.run, named.micro),
      task: named.task,
      what: `${runKey(named.run)}.result-${named.task}-${named.micro}`,
    };
    const end = await doTask<SharedMicro>(this.backend, place, { id, leaseMs: this.#leaseMs }, hint, signal, async (micro, lost) => {
      this.#leaving.tell(run.id, `takes part in a training of ${run.model}`);
      return await this.#compute(run, model, micro, lost);
    });
    if (typeof end === "string") return;
    this.#leaving.failed(run.id, end.failure);
    this.release();
  }

  /** The model that a run is of; why there is none is said once. */
  #suitable({ id, model, weights, version, recipe: { dtype } }: SharedRun, models: readonly RankModel[]): RankModel | undefined {
    const same = models.filter((one) => one.weights === weights);
    const found = same.find((one) => one.dtype === dtype);
    if (version === this.options.version && found) return found;
    const why =
      version !== this.options.version
        ? `it is led by version ${version}, and this is ${this.options.version}`
        : same.length
          ? `it computes in ${dtype}, and this worker in ${same[0]!.dtype}; start it with --dtype ${dtype}`
          : models.some(({ name }) => name === model)
            ? `its ${model} has other weights than this worker's`
            : `this worker has no ${model}; start it with --model`;
    this.#leaving.tell(id, `a training of ${model} is left to others: ${why}`);
    return undefined;
  }

  async #compute(
    run: SharedRun,
    model: RankModel,
    { parameters, inputs, batches = [] }: SharedMicro,
    signal: AbortSignal,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { blobs } = this.backend;
    const of = JSON.stringify([run.id, run.recipe, run.weights, model.name]);
    if (this.#ready?.of !== of) {
      this.release();
      const { recipe } = run;
      const [transformer, { memoryBytes }] = [await model.transformer(), this.options];
      const engine = takesRounds(recipe)
        ? new ReplicaEngine(model.gpu, transformer, recipe, memoryBytes)
        : new MicroEngine(model.gpu, transformer, recipe, memoryBytes);
      this.#ready = { of, engine, parameters: undefined };
    }
    const ready = this.#ready;
    const read = async (of: BlobReference): Promise<Uint8Array<ArrayBuffer>> => {
      const bytes = await getBlob(blobs, of);
      if (!bytes) throw new CogwheelError("ranks", `a micro-step must have what it is computed from, got no whole ${of.blob}`);
      return bytes;
    };
    if (ready.parameters?.blob !== parameters.blob)
      ready.parameters = { blob: parameters.blob, values: await parametersOf(await read(parameters)) };
    const { engine, parameters: shared } = ready;
    if (engine instanceof MicroEngine) return resultBytes(await engine.run(await taskOf(await read(inputs)), shared.values, signal));
    const task: ReplicaTask = {
      ...(await valueIn<Omit<ReplicaTask, "steps">>(await read(inputs))),
      steps: batches.map((batch) => async () => await valueIn<MicroBatch[]>(await read(batch))),
    };
    return valueBytes(await engine.run(task, shared.values, signal));
  }

  /** Frees what it has on the adapter; it is made again when there is another micro-step. */
  release(): void {
    this.#ready?.engine[Symbol.dispose]();
    this.#ready = undefined;
  }

  [Symbol.dispose](): void {
    this.release();
  }
}
