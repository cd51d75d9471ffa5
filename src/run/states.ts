/**
 * States on the device: tensors that live from run to run. Programs that are given the same `States` share them by name, so one goes on
 * from what another left; a program without has its own.
 */
import { CogwheelError } from "../base/errors.ts";
import type { Gpu, OwnedBuffer } from "../gpu/gpu.ts";
import type { Tensor } from "../graph/tensor.ts";
import type { Plan } from "../plan/compile.ts";

interface Held {
  readonly tensor: Tensor;
  /** Undefined while the state is put aside. */
  owned?: OwnedBuffer | undefined;
  /** What it held when it was put aside, in the host's memory; undefined: what it begins with. */
  bytes?: ArrayBuffer | undefined;
}

/** Tensors that stay on the device from run to run, by name; programs may share them. */
export class States implements Disposable {
  readonly #held = new Map<string, Held>();

  /**
   * Memory for every state of the plans, as each begins: zeros or its initial values. Those that `others` hold are theirs, and stay so:
   * they must outlive this.
   * @param aside states that begin in the host's memory ({@link bring}); default: none
   */
  constructor(
    private readonly gpu: Gpu,
    plans: readonly Pick<Plan, "graph">[],
    private readonly others?: States,
    aside: (name: string) => boolean = () => false,
  ) {
    try {
      for (const [name, tensor] of sharedStates(plans)) {
        if (others?.has(name)) continue;
        this.#held.set(name, { tensor });
        if (!aside(name)) this.bring([name]);
      }
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
    if (!held.owned) throw new CogwheelError("graph", `a state must be on the device, got "${name}", put aside; bring it first`);
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

  /** Gives its own states of these names memory on the device, with what they hold; those that have some stay as they are. */
  bring(names: Iterable<string>): void {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
    for (const name of names) {
      const held = this.#held.get(name);
      if (!held || held.owned) continue;
      const { tensor, bytes } = held;
      held.owned = this.gpu.buffer(`state.${name}`, tensor.bytes, usage, bytes ? new Uint8Array(bytes) : tensor.data);
      held.bytes = undefined;
    }
  }

  /** Keeps what its own states of these names hold in the host's memory, and frees theirs on the device: no program may have them. */
  async putAside(names: Iterable<string>): Promise<void> {
    for (const name of names) {
      const held = this.#held.get(name);
      if (!held?.owned) continue;
      held.bytes = await this.gpu.read(held.owned.buffer, 0, held.tensor.bytes);
      held.owned[Symbol.dispose]();
      held.owned = undefined;
    }
  }

  /** What every state holds, as stored: f16 as raw bits. To be kept, and given to {@link write} state by state. */
  async save(signal?: AbortSignal): Promise<Map<string, ArrayBuffer>> {
    const saved = new Map<string, ArrayBuffer>();
    for (const [name, { tensor, owned, bytes }] of this.#held)
      saved.set(name, owned ? await this.gpu.read(owned.buffer, 0, tensor.bytes, signal) : (bytes?.slice(0) ?? initialBytes(tensor)));
    return saved;
  }

  /** New contents of a state, wherever it lies. */
  write(name: string, bytes: Uint8Array<ArrayBuffer>): void {
    const held = this.#held.get(name);
    if (held && !held.owned) held.bytes = bytes.slice().buffer;
    else this.gpu.device.queue.writeBuffer(this.buffer(name), 0, bytes);
  }

  [Symbol.dispose](): void {
    for (const { owned } of this.#held.values()) owned?.[Symbol.dispose]();
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

const initialBytes = ({ bytes, data }: Tensor): ArrayBuffer => {
  const initial = new Uint8Array(bytes);
  if (data) initial.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return initial.buffer;
};

const sameValues = (a: NonNullable<Tensor["data"]>, b: NonNullable<Tensor["data"]>): boolean =>
  a === b || a.every((value, i) => Object.is(value, b[i]));

const differing = (one: Tensor, other: Tensor, where = ""): CogwheelError =>
  new CogwheelError("graph", `programs share a state of one size and type, got ${one} and ${other}${where}; name one of them otherwise`);
