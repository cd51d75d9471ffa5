/** Takes rounds of replicas for a run that is elsewhere: it has the model; weights, batches and the optimizer's states are given. */
import { TorchGenerator } from "../../diffusion/torch-random.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import { transformerWeights } from "../../models/cogvideox/weights.ts";
import { trainedOf } from "../micro-engine.ts";
import { type MicroBatch, microOf } from "../micro-batch.ts";
import { trainingNeeds, type TrainingNeeds } from "../needs.ts";
import type { MicroShape } from "../record.ts";
import { Trainer, type TrainingModel } from "../trainer.ts";
import { takeRound } from "./replica.ts";
import type { ReplicaRecipe, ReplicaRound, ReplicaTask } from "./replica-workers.ts";

export class ReplicaEngine implements Disposable {
  #trainer: Trainer | undefined;
  /** Shapes of batches that the trainer leaves room for, and the bytes of frozen weights that come and go for the largest. */
  readonly #shapes = new Set<string>();
  #streamed = 0;

  /** @param memoryBytes of the adapter: frozen weights come and go where all of them are too much */
  constructor(
    private readonly gpu: Gpu,
    private readonly model: TrainingModel,
    private readonly recipe: ReplicaRecipe,
    private readonly memoryBytes: number | undefined = undefined,
  ) {}

  /** @param outer weights that the round begins with, by the names of their states @param signal ends it between two steps */
  async run(task: ReplicaTask, outer: ReadonlyMap<string, Float32Array>, signal?: AbortSignal): Promise<ReplicaRound> {
    const trainer = await this.#trainerFor(this.memoryBytes === undefined ? [] : await shapesOf(task), signal);
    return await takeRound(this.gpu, trainer, this.recipe, outer, task, signal);
  }

  async #trainerFor(shapes: readonly MicroShape[], signal?: AbortSignal): Promise<Trainer> {
    const { gpu, model, recipe } = this;
    const { trained: what, optimizer, accumulation, maxGradNorm, dtype, checkpointing } = recipe;
    let needs: TrainingNeeds | undefined;
    for (const shape of shapes) {
      const key = JSON.stringify(shape);
      if (this.#shapes.has(key)) continue;
      this.#shapes.add(key);
      const of = trainingNeeds(
        { config: model.config, weights: model.weights, dtype, caps: gpu.caps },
        {
          ...("lora" in what ? what : { full: (name: string) => what.full.includes(name) }),
          ...{ optimizer, accumulation, checkpointing },
        },
        shape,
        this.memoryBytes,
      );
      if (of.streamed > this.#streamed) needs = of;
      this.#streamed = Math.max(this.#streamed, of.streamed);
    }
    if (this.#trainer && !needs) return this.#trainer;
    this.#trainer?.[Symbol.dispose]();
    this.#trainer = undefined;
    const weights = transformerWeights(model.config);
    return (this.#trainer = await Trainer.create(
      gpu,
      model,
      {
        trained: trainedOf(what, weights, new TorchGenerator(0)),
        ...{ optimizer, accumulation, dtype, checkpointing },
        ...(maxGradNorm === undefined ? {} : { maxGradNorm }),
        ...(needs ? { compile: needs.compile } : {}),
      },
      signal,
    ));
  }

  [Symbol.dispose](): void {
    this.#trainer?.[Symbol.dispose]();
  }
}

/** Of all batches of a round. */
async function shapesOf({ steps }: ReplicaTask): Promise<MicroShape[]> {
  const shapes: MicroShape[] = [];
  for (const make of steps) shapes.push(...(await make()).map((batch: MicroBatch) => microOf(batch).shape));
  return shapes;
}
