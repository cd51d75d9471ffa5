/** Leads a run whose workers compute micro-steps, or take the rounds of its replicas. */
import type { JobBackend } from "../jobs/backend.ts";
import type { BlobReference } from "../jobs/tasks.ts";
import type { ReplicaRound, ReplicaTask, ReplicaWorkers } from "../training/diloco/replica-workers.ts";
import type { MicroGradients, MicroTask, MicroWorkers } from "../training/micro-workers.ts";
import { parametersBytes, resultOf, taskBytes, valueBytes, valueIn } from "./arrays.ts";
import { type LeaderOptions, TaskLeader } from "./task-leader.ts";

export class Leader extends TaskLeader implements MicroWorkers {
  constructor(backend: JobBackend, options: LeaderOptions) {
    super(backend, options, "a micro-step");
  }

  async begin(parameters: ReadonlyMap<string, Float32Array>, micros: readonly MicroTask[]): Promise<void> {
    const tasks = micros.map((micro) => ({ inputs: taskBytes(micro) }));
    await this.publish(1, parametersBytes(parameters), tasks);
  }

  async result(micro: number): Promise<MicroGradients> {
    return await resultOf(await this.resultBytes(micro));
  }
}

export class ReplicaLeader extends TaskLeader implements ReplicaWorkers {
  #moved = { sent: 0, received: 0 };

  constructor(backend: JobBackend, options: LeaderOptions) {
    super(backend, options, "a replica's round");
  }

  get moved(): ReplicaWorkers["moved"] {
    return this.#moved;
  }

  async begin(outer: ReadonlyMap<string, Float32Array>, replicas: readonly ReplicaTask[]): Promise<void> {
    const parameters = parametersBytes(outer);
    this.#moved = { sent: parameters.length, received: 0 };
    const tasks = [];
    for (const { steps, ...of } of replicas) {
      const inputs = valueBytes(of);
      this.#moved.sent += inputs.length;
      const batches: BlobReference[] = [];
      for (const make of steps) {
        const bytes = valueBytes(await make());
        this.#moved.sent += bytes.length;
        batches.push(await this.keep("batches", bytes));
      }
      tasks.push({ inputs, batches });
    }
    await this.publish(replicas[0]!.steps.length, parameters, tasks);
  }

  async result(replica: number): Promise<ReplicaRound> {
    const bytes = await this.resultBytes(replica);
    this.#moved.received += bytes.length;
    return await valueIn<ReplicaRound>(bytes);
  }
}
