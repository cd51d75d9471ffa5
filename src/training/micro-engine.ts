/** Computes the gradients of micro-steps for a run that is elsewhere: it has the model, and is given parameters and inputs. */
import { TorchGenerator } from "../diffusion/torch-random.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { transformerWeights } from "../models/cogvideox/weights.ts";
import { States } from "../run/states.ts";
import { WeightStore } from "../run/weight-store.ts";
import { fullParameters } from "./full.ts";
import { loraParameters } from "./lora.ts";
import { writeGiven } from "./given-values.ts";
import type { GradientRecipe, MicroGradients, MicroTask } from "./micro-workers.ts";
import { trainingNeeds } from "./needs.ts";
import type { Trained } from "./parameters.ts";
import { Programs } from "./programs.ts";
import { type MicroShape, microStep, type Recipe } from "./record.ts";
import { withSums } from "./step-graphs.ts";
import type { TrainingModel } from "./trainer.ts";
import { parameterNames, stateName } from "./update.ts";

/** What is trained, for those who are told of it. @param generator of values that others take the place of */
export const trainedOf = (
  what: GradientRecipe["trained"],
  shapes: ReadonlyMap<string, readonly number[]>,
  generator: TorchGenerator,
): Trained =>
  "lora" in what ? loraParameters(shapes, what.lora, generator) : fullParameters(shapes.keys(), (name) => what.full.includes(name));

export class MicroEngine implements Disposable {
  readonly #recipe: Recipe;
  #store: WeightStore;
  #states: States | undefined;
  #programs: Programs | undefined;
  /** Shapes that programs are made for, and the bytes of frozen weights that come and go for one of them. */
  readonly #shapes = new Set<string>();
  #streamed = 0;
  #parameters: ReadonlyMap<string, Float32Array> | undefined;

  /** @param memoryBytes of the adapter: frozen weights come and go where all of them are too much */
  constructor(
    private readonly gpu: Gpu,
    private readonly model: TrainingModel,
    private readonly of: GradientRecipe,
    private readonly memoryBytes: number | undefined = undefined,
  ) {
    const { trained: what, dtype, checkpointing } = of;
    const { config, weights } = model;
    const shapes = transformerWeights(config);
    const trained = trainedOf(what, shapes, new TorchGenerator(0));
    this.#recipe = { config, weights, dtype, trained, checkpointing };
    this.#store = new WeightStore(gpu, weights);
  }

  /** @param parameters of the step, by the names of their states; the same map is written once */
  async run({ shape, inputs }: MicroTask, parameters: ReadonlyMap<string, Float32Array>, signal?: AbortSignal): Promise<MicroGradients> {
    const record = () => withSums(microStep(this.#recipe, shape));
    // Whatever its shape, a micro-step has the same states.
    const states = (this.#states ??= new States(this.gpu, [{ graph: record() }]));
    const key = JSON.stringify(shape);
    const programs = this.#programsFor(key, shape, states);
    if (this.#parameters !== parameters) this.#write(states, parameters);
    this.#parameters = parameters;
    const program = await programs.get(key, record);
    await program.run({ inputs: { ...inputs, begun: new Float32Array(4) }, ...(signal ? { signal } : {}) });
    const loss = await program.read("loss", signal);
    const gradients = new Map<string, Float32Array>();
    for (const name of parameterNames(states.tensors.keys())) {
      const sum = states.tensors.get(stateName("gradient", name));
      if (sum) gradients.set(name, new Float32Array(await this.gpu.read(states.buffer(sum.name), 0, sum.bytes, signal)));
    }
    return { loss, gradients, flops: programs.plan(key).cost.flops };
  }

  /** Programs that leave room for a shape: what streams for the largest does so for all. */
  #programsFor(key: string, shape: MicroShape, states: States): Programs {
    if (this.#programs && this.#shapes.has(key)) return this.#programs;
    const { config, weights } = this.model;
    const { trained: what, dtype, checkpointing } = this.of;
    const needs =
      this.memoryBytes === undefined
        ? undefined
        : trainingNeeds(
            { config, weights, dtype, caps: this.gpu.caps },
            { ...("lora" in what ? what : { full: (name) => what.full.includes(name) }), checkpointing, accumulation: 2 },
            shape,
            this.memoryBytes,
          );
    this.#shapes.add(key);
    if (this.#programs && (needs?.streamed ?? 0) <= this.#streamed) return this.#programs;
    this.#streamed = needs?.streamed ?? 0;
    this.#programs?.[Symbol.dispose]();
    // Weights that stay now may come and go from here on.
    this.#store[Symbol.dispose]();
    this.#store = new WeightStore(this.gpu, weights);
    const compile = needs ? { compile: needs.compile } : {};
    return (this.#programs = new Programs(this.gpu, this.#store, states, {
      input: (name) => this.#recipe.trained.input(name),
      ...compile,
    }));
  }

  #write(states: States, parameters: ReadonlyMap<string, Float32Array>): void {
    for (const name of parameterNames(states.tensors.keys())) writeGiven(this.gpu, states, name, parameters.get(name), "a step");
  }

  [Symbol.dispose](): void {
    for (const held of [this.#programs, this.#states, this.#store]) held?.[Symbol.dispose]();
  }
}
