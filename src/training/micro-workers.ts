/** Micro-steps whose gradients are computed elsewhere, such as by workers of a queue, and added up here in their order. */
import { CogwheelError } from "../base/errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { Graph } from "../graph/graph.ts";
import { accumulate } from "../ops/accumulate.ts";
import type { States } from "../run/states.ts";
import type { LoraOptions } from "./lora.ts";
import type { Programs } from "./programs.ts";
import type { Checkpointing, MicroShape } from "./record.ts";
import type { StepperPasses } from "./stepper.ts";
import { parameterNames, stateName } from "./update.ts";

/** What the graphs of a run's micro-steps are recorded from, as JSON says it; the model apart. */
export interface GradientRecipe {
  /** The adapter, or the state-dict names of the weights. */
  readonly trained: { readonly lora: Pick<LoraOptions, "rank" | "alpha" | "targets"> } | { readonly full: readonly string[] };
  readonly dtype: "f32" | "f16";
  readonly checkpointing: Checkpointing;
}

/** A micro-step: all that it needs beside the model and the parameters. */
export interface MicroTask {
  readonly shape: MicroShape;
  /** Of its graph, but for what belongs to the run. */
  readonly inputs: Readonly<Record<string, Float32Array | Uint32Array>>;
}

export interface MicroGradients {
  /** Of each clip. */
  readonly loss: Float32Array;
  /** By parameter, in the layout of its state. */
  readonly gradients: ReadonlyMap<string, Float32Array>;
  /** Operations of the micro-step, as planned. */
  readonly flops: number;
}

/** Who computes the gradients of a run's micro-steps. */
export interface MicroWorkers {
  /** Told once, before the first step. */
  open(recipe: GradientRecipe): Promise<void>;
  /** Begins a step. @param parameters as they are now, by the names of their states */
  begin(parameters: ReadonlyMap<string, Float32Array>, micros: readonly MicroTask[]): Promise<void>;
  /** What came out of a micro-step of this step; waits until it is there. */
  result(micro: number): Promise<MicroGradients>;
}

export class SharedMicros {
  /** @param like a graph of a micro-step that adds up its gradients */
  constructor(
    private readonly gpu: Gpu,
    private readonly programs: Programs,
    private readonly states: States,
    private readonly like: Graph,
    private readonly workers: MicroWorkers,
  ) {}

  /** The micro-steps of one step. The first that runs gives all of them to the workers. */
  passes(micros: readonly { readonly values: number; task(lossScale: number): MicroTask }[]): StepperPasses[] {
    let begun: Promise<void> | undefined;
    return micros.map(({ values }, i) => ({
      values,
      sums: { states: this.states, like: this.like },
      run: async (lossScale, added) => {
        await (begun ??= this.#begin(micros.map(({ task }) => task(lossScale))));
        const { loss, gradients, flops } = await this.workers.result(i);
        await this.#add(gradients, added);
        return { outputs: { loss }, flops };
      },
    }));
  }

  async #begin(tasks: readonly MicroTask[]): Promise<void> {
    const parameters = new Map<string, Float32Array>();
    for (const name of parameterNames(this.like.states.keys()))
      parameters.set(name, new Float32Array(await this.gpu.read(this.states.buffer(name), 0, this.like.states.get(name)!.bytes)));
    await this.workers.begin(parameters, tasks);
  }

  /** On the device, by the op that adds them up where they are computed, so that the bytes are the same. */
  async #add(gradients: ReadonlyMap<string, Float32Array>, begun: boolean): Promise<void> {
    const inputs: Record<string, Float32Array> = { begun: Float32Array.of(+begun, 0, 0, 0) };
    for (const { parameter, size } of sumsOf(this.like)) {
      const gradient = gradients.get(parameter);
      if (gradient?.length !== size)
        throw new CogwheelError(
          "training",
          `a worker must give ${size} values of the gradient of ${parameter}, got ${gradient?.length ?? "none"}; end that worker`,
        );
      inputs[inputName(parameter)] = gradient;
    }
    const program = await this.programs.get("sums", () => addGraph(this.like));
    await program.run({ inputs });
  }
}

const inputName = (parameter: string): string => `computed:${parameter}`;

/** Gradients that a graph adds up. */
const sumsOf = ({ states }: Graph): { parameter: string; size: number; shape: readonly number[] }[] =>
  parameterNames(states.keys()).flatMap((parameter) => {
    const sum = states.get(stateName("gradient", parameter));
    return sum ? [{ parameter, size: sum.size, shape: sum.shape }] : [];
  });

/** Adds gradients that were computed elsewhere to those of the micro-steps before. */
function addGraph(like: Graph): Graph {
  const graph = new Graph("sums");
  const begun = graph.input("begun", [4]);
  for (const { parameter, shape } of sumsOf(like)) {
    const sum = graph.state(stateName("gradient", parameter), shape);
    graph.update(sum, accumulate(sum, graph.input(inputName(parameter), shape), begun));
  }
  return graph;
}
