/**
 * A run by DiLoCo between its rounds: the outer weights and their momentum, and of each replica what its optimizer goes on from. All of it
 * lies with the host; the device has the outer weights too, so that they can be measured and exported, and whatever a replica left.
 */
import { CogwheelError } from "../../base/errors.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import type { Tensor } from "../../graph/tensor.ts";
import type { RunState, SavedProgress } from "../checkpoint.ts";
import type { MicroBatch } from "../micro-batch.ts";
import type { StagedTrainer } from "../staged-run.ts";
import type { Trainer, TrainerProgress } from "../trainer.ts";
import { parameterNames } from "../update.ts";
import { type Exchanged, isExchangeOf } from "./exchange.ts";
import type { Diloco } from "./options.ts";
import { outerStep } from "./outer-step.ts";
import { innerStateNames } from "./replica.ts";
import type { InnerStates, ReplicaStep, ReplicaWorkers } from "./replica-workers.ts";

/** What a replica goes on from. */
interface Replica {
  progress: TrainerProgress;
  states: InnerStates;
  /** Updates that it made, in the whole run and before this stage. */
  updates: number;
  stageUpdates: number;
}

export interface RoundSteps {
  /** What makes the batches of a replica's step, from 0 in the round. */
  batches(replica: number, step: number): Promise<readonly MicroBatch[]>;
  readonly steps: number;
  /** The learning rate of an update, from 0 in the stage. */
  rate(update: number): number;
  /** Is it the first of a stage? */
  readonly begins: boolean;
  readonly signal: AbortSignal | undefined;
}

const MOMENTUM = "outer momentum:";
const prefixOf = (replica: number): string => `replica ${replica}:`;

export class Rounds implements StagedTrainer, RunState {
  readonly #outer: Map<string, Float32Array>;
  readonly #momentum: Map<string, Float32Array>;
  readonly #replicas: Replica[];
  #updates = 0;

  private constructor(
    private readonly gpu: Gpu,
    private readonly trainer: Trainer,
    private readonly options: Diloco,
    private readonly workers: ReplicaWorkers,
    outer: ReadonlyMap<string, Float32Array>,
  ) {
    this.#outer = new Map(outer);
    this.#momentum = new Map([...this.#outer].map(([name, { length }]) => [name, new Float32Array(length)]));
    this.#replicas = Array.from({ length: options.replicas }, () => ({
      progress: { updates: 0 },
      states: new Map(),
      updates: 0,
      stageUpdates: 0,
    }));
  }

  /** A run at its beginning: parameters are what the trainer has of them. */
  static async create(gpu: Gpu, trainer: Trainer, options: Diloco, workers: ReplicaWorkers, signal?: AbortSignal): Promise<Rounds> {
    const { states } = trainer;
    const outer = new Map<string, Float32Array>();
    for (const name of parameterNames(states.tensors.keys()))
      outer.set(name, new Float32Array(await gpu.read(states.buffer(name), 0, states.tensors.get(name)!.bytes, signal)));
    return new Rounds(gpu, trainer, options, workers, outer);
  }

  /** Names of what a replica's optimizer goes on from, where any of it is kept. */
  get #inner(): string[] {
    return this.options.innerState === "kept" ? innerStateNames(this.trainer.states.tensors.keys()) : [];
  }

  #tensor(name: string): Tensor {
    return this.trainer.states.tensors.get(name)!;
  }

  /** Takes a round. One that ends on the way has changed nothing. @returns the steps of each replica */
  async take({ batches, steps, rate, begins, signal }: RoundSteps): Promise<(readonly ReplicaStep[])[]> {
    const { workers } = this;
    const replicas = this.#replicas.map((replica) => (begins ? { ...replica, stageUpdates: replica.updates } : { ...replica }));
    const found: (readonly ReplicaStep[])[] = [];
    const reached: ReadonlyMap<string, Exchanged>[] = [];
    try {
      await workers.begin(
        this.#outer,
        replicas.map(({ progress, states, updates, stageUpdates }, k) => ({
          progress,
          states,
          steps: Array.from({ length: steps }, (_, i) => () => batches(k, i)),
          rates: Array.from({ length: steps }, (_, i) => rate(updates - stageUpdates + i)),
        })),
      );
      for (const [k, replica] of replicas.entries()) {
        const round = await workers.result(k, signal);
        if (round.steps.length !== steps) throw wrong(k, `${steps} steps`, `${round.steps.length}`);
        for (const [name, { length }] of this.#outer) {
          const given = round.parameters.get(name);
          if (!given || !isExchangeOf(given, length)) throw wrong(k, `${length} values of ${name}`, given ? "others" : "none");
        }
        for (const name of this.#inner) {
          const [values, { size }] = [round.states.get(name), this.#tensor(name)];
          if (values?.length !== size) throw wrong(k, `${size} values of ${name}`, `${values?.length ?? "none"}`);
        }
        replica.states = round.states;
        replica.updates += round.steps.filter(({ taken }) => taken).length;
        // An optimizer that begins anew has made no updates; the scale of the loss is of the replica.
        replica.progress = this.options.innerState === "kept" ? round.progress : { ...round.progress, updates: 0 };
        reached.push(round.parameters);
        found.push(round.steps);
      }
      for (const [name, outer] of this.#outer)
        outerStep(
          outer,
          this.#momentum.get(name)!,
          reached.map((parameters) => parameters.get(name)!),
          this.options,
        );
      this.#replicas.splice(0, replicas.length, ...replicas);
      this.#updates++;
    } finally {
      this.#writeOuter();
    }
    return found;
  }

  /** On the device, for whoever measures or exports what was learned. */
  #writeOuter(): void {
    for (const [name, values] of this.#outer)
      this.gpu.device.queue.writeBuffer(this.trainer.states.buffer(name), 0, values as Float32Array<ArrayBuffer>);
  }

  get moved(): { readonly sent: number; readonly received: number } {
    return this.workers.moved;
  }

  get progress(): Omit<SavedProgress, "step" | "stageUpdates"> {
    return {
      updates: this.#updates,
      replicas: this.#replicas.map(({ progress, updates, stageUpdates }) => ({ progress, updates, stageUpdates })),
    };
  }

  set progress({ updates, replicas = [] }: Omit<SavedProgress, "step" | "stageUpdates">) {
    this.#updates = updates;
    replicas.forEach((saved, k) => void Object.assign(this.#replicas[k]!, saved));
  }

  release(): void {
    this.trainer.release();
  }

  /** What a checkpoint holds, by name. */
  get tensors(): RunState["tensors"] {
    const names = [...this.#outer.keys()];
    return new Map([
      ...names.flatMap((name) => [[name, this.#tensor(name)] as const, [MOMENTUM + name, this.#tensor(name)] as const]),
      ...this.#replicas.flatMap((_, k) => this.#inner.map((name) => [prefixOf(k) + name, this.#tensor(name)] as const)),
    ]);
  }

  async save(): Promise<Map<string, ArrayBufferView>> {
    return new Map<string, ArrayBufferView>([
      ...this.#outer,
      ...[...this.#momentum].map(([name, values]) => [MOMENTUM + name, values] as const),
      ...this.#replicas.flatMap(({ states }, k) =>
        this.#inner.map((name) => [prefixOf(k) + name, states.get(name) ?? new Uint8Array(this.#tensor(name).bytes)] as const),
      ),
    ]);
  }

  /** Puts back what `save` gave of them all. */
  restore(saved: ReadonlyMap<string, Uint8Array<ArrayBuffer>>): void {
    for (const [name, outer] of this.#outer) {
      outer.set(new Float32Array(saved.get(name)!.buffer));
      this.#momentum.get(name)!.set(new Float32Array(saved.get(MOMENTUM + name)!.buffer));
    }
    for (const [k, replica] of this.#replicas.entries())
      replica.states = new Map(
        this.#inner.map((name) => {
          const { buffer } = saved.get(prefixOf(k) + name)!;
          return [name, this.#tensor(name).dtype === "u32" ? new Uint32Array(buffer) : new Float32Array(buffer)];
        }),
      );
    this.#writeOuter();
  }
}

const wrong = (replica: number, wanted: string, got: string): CogwheelError =>
  new CogwheelError("training", `replica ${replica + 1} must come back with ${wanted}, got ${got}; end the worker that took its round`, {
    code: "failed",
  });
