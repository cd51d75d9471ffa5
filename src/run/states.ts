/**
 * States on the device: tensors that live from run to run. Programs that are given the same `States` share them by name, so one goes on
 * from what another left; a program without has its own.
 */
import { CogwheelError } from "../base/errors.ts";
import type { Gpu, OwnedBuffer } from "../gpu/gpu.ts";
import type { Tensor } from "../graph/tensor.ts";
import type { Plan } from "../plan/compile.ts";

/** Tensors that stay on the device from run to run, by name; programs may share them. */
export class States implements Disposable {
  readonly #held = new Map<string, { readonly tensor: Tensor; readonly owned: OwnedBuffer }>();

  /**
   * Memory for every state of the plans, as each begins: zeros or its initial values. Those that `others` hold are theirs, and stay so:
   * they must outlive this.
   */
  constructor(
    private readonly gpu: Gpu,
    plans: readonly Pick<Plan, "graph">[],
    private readonly others?: States,
  ) {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
    try {
      for (const [name, tensor] of sharedStates(plans))
        if (!others?.has(name)) this.#held.set(name, { tensor, owned: gpu.buffer(`state.${name}`, tensor.bytes, usage, tensor.data) });
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  has(name: string): boolean {
    return this.#held.has(name) || (this.others?.has(name) ?? false);
  }

  /** Names, shapes and types of its own. */
  get tensors(): ReadonlyMap<string, Tensor> {
    return new Map([...this.#held].map(([name, { tensor }]) => [name, tensor]));
  }

  buffer(name: string): GPUBuffer {
    const held = this.#held.get(name);
    if (!held && this.others?.has(name)) return this.others.buffer(name);
    if (!held)
      throw new CogwheelError(
        "graph",
        `a state must be of one of the plans, got "${name}"; there are ${[...this.#held.keys()].join(", ") || "none"}`,
      );
    return held.owned.buffer;
  }

  /** The buffer of a program's state; throws unless it is held in its size and type. */
  bufferOf(tensor: Tensor): GPUBuffer {
    if (!this.#held.has(tensor.name) && this.others?.has(tensor.name)) return this.others.bufferOf(tensor);
    const buffer = this.buffer(tensor.name);
    const held = this.#held.get(tensor.name)!.tensor;
    if (held.bytes !== tensor.bytes || held.dtype !== tensor.dtype) throw differing(held, tensor);
    return buffer;
  }

  /** What every state holds, as stored: f16 as raw bits. To be kept, and given to `Program.write` state by state. */
  async save(signal?: AbortSignal): Promise<Map<string, ArrayBuffer>> {
    const saved = new Map<string, ArrayBuffer>();
    for (const [name, { tensor, owned }] of this.#held) saved.set(name, await this.gpu.read(owned.buffer, 0, tensor.bytes, signal));
    return saved;
  }

  [Symbol.dispose](): void {
    for (const { owned } of this.#held.values()) owned[Symbol.dispose]();
    this.#held.clear();
  }
}

/**
 * The states of programs that share them, each once, with the initial values that any of them gives; throws where two of a name are not of
 * one size and type, or begin otherwise.
 */
export function sharedStates(plans: readonly Pick<Plan, "graph">[]): Map<string, Tensor> {
  const states = new Map<string, Tensor>();
  for (const { graph } of plans)
    for (const [name, tensor] of graph.states) {
      const other = states.get(name) ?? tensor;
      if (other.bytes !== tensor.bytes || other.dtype !== tensor.dtype) throw differing(other, tensor, ` of ${graph.name}`);
      if (other.data && tensor.data && !sameValues(other.data, tensor.data))
        throw new CogwheelError(
          "graph",
          `programs share a state that begins with one value, got two for ${tensor} of ${graph.name}; name one of them otherwise`,
        );
      states.set(name, other.data ? other : tensor);
    }
  return states;
}

const sameValues = (a: NonNullable<Tensor["data"]>, b: NonNullable<Tensor["data"]>): boolean =>
  a === b || a.every((value, i) => Object.is(value, b[i]));

const differing = (one: Tensor, other: Tensor, where = ""): CogwheelError =>
  new CogwheelError("graph", `programs share a state of one size and type, got ${one} and ${other}${where}; name one of them otherwise`);
