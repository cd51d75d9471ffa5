/** A replica's round: the trainer's own steps, begun at the outer weights, with an optimizer that is the replica's. */
import type { Gpu } from "../../gpu/gpu.ts";
import { microOf } from "../micro-batch.ts";
import { writeGiven } from "../given-values.ts";
import type { Trainer } from "../trainer.ts";
import { lasts, parameterNames } from "../update.ts";
import { type Exchanged, exchanged } from "./exchange.ts";
import type { ReplicaRecipe, ReplicaRound, ReplicaStep, ReplicaTask, ReplicaWorkers } from "./replica-workers.ts";

/** Names of the states that the optimizer goes on from. */
export const innerStateNames = (states: Iterable<string>): string[] => {
  const all = [...states].filter(lasts);
  const parameters = new Set(parameterNames(all));
  return all.filter((name) => !parameters.has(name));
};

/** Takes a round on a device. @param signal ends it between two steps; nothing comes of it then */
export async function takeRound(
  gpu: Gpu,
  trainer: Trainer,
  { exchange, innerState }: Pick<ReplicaRecipe, "exchange" | "innerState">,
  outer: ReadonlyMap<string, Float32Array>,
  task: ReplicaTask,
  signal?: AbortSignal,
): Promise<ReplicaRound> {
  const { states } = trainer;
  const parameters = parameterNames(states.tensors.keys());
  const inner = innerStateNames(states.tensors.keys());
  const write = (name: string, values: Float32Array | Uint32Array | undefined): void =>
    writeGiven(gpu, states, name, values, "a replica's round");
  const read = (name: string): Promise<ArrayBuffer> => gpu.read(states.buffer(name), 0, states.tensors.get(name)!.bytes, signal);
  for (const name of parameters) write(name, outer.get(name));
  for (const name of inner) write(name, task.states.get(name) ?? new Float32Array(states.tensors.get(name)!.size));
  trainer.progress = task.progress;
  const steps: ReplicaStep[] = [];
  for (const make of task.steps) {
    signal?.throwIfAborted();
    const batches = await make();
    const lr = task.rates[steps.filter(({ taken }) => taken).length]!;
    steps.push({ ...(await trainer.step(batches, lr)), timesteps: batches.map((batch) => microOf(batch).timesteps), lr });
  }
  const reached = new Map<string, Exchanged>();
  for (const name of parameters) reached.set(name, exchanged(exchange, outer.get(name)!, new Float32Array(await read(name)), name));
  const kept = new Map<string, Float32Array | Uint32Array>();
  if (innerState === "kept")
    for (const name of inner)
      kept.set(name, new (states.tensors.get(name)!.dtype === "u32" ? Uint32Array : Float32Array)(await read(name)));
  return { steps, parameters: reached, progress: trainer.progress, states: kept };
}

/** Replicas one after another on the device of the run. */
export class ReplicasInTurn implements ReplicaWorkers {
  readonly moved = { sent: 0, received: 0 };
  #recipe: ReplicaRecipe | undefined;
  #round: { outer: ReadonlyMap<string, Float32Array>; tasks: readonly ReplicaTask[] } | undefined;

  constructor(
    private readonly gpu: Gpu,
    private readonly trainer: Trainer,
  ) {}

  async open(recipe: ReplicaRecipe): Promise<void> {
    this.#recipe = recipe;
  }

  async begin(outer: ReadonlyMap<string, Float32Array>, tasks: readonly ReplicaTask[]): Promise<void> {
    this.#round = { outer, tasks };
  }

  async result(replica: number, signal?: AbortSignal): Promise<ReplicaRound> {
    const { outer, tasks } = this.#round!;
    return await takeRound(this.gpu, this.trainer, this.#recipe!, outer, tasks[replica]!, signal);
  }
}
