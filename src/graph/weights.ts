/** Weights on the GPU: read from a provider, packed for the kernels that read them, kept until disposed of. */
import { CogwheelError } from "../errors.ts";
import type { Gpu, OwnedBuffer } from "../gpu/gpu.ts";
import type { WeightRequest } from "./compile.ts";
import { elements, type DType } from "./graph.ts";
import { pack } from "./packing.ts";

/** Where weights come from: a checkpoint's component, or the tensors of a reference case. */
export interface WeightProvider {
  /** In which type a weight is stored on the GPU. */
  type(name: string): DType;
  /** The weight's values, row-major as in the checkpoint; f16 as raw bits. */
  read(name: string, dtype: DType, signal?: AbortSignal): Promise<Float32Array | Uint16Array>;
}

export interface LoadOptions {
  signal?: AbortSignal;
  /** How much is done, of all there is to do. */
  onProgress?: (done: number, total: number) => void;
}

export class WeightStore implements Disposable {
  readonly #buffers = new Map<string, OwnedBuffer>();
  /** @param base weights that are there already, and that are not read again; it stays its owner's */
  constructor(
    readonly gpu: Gpu,
    readonly provider: WeightProvider,
    private readonly base?: WeightStore,
  ) {}

  has(key: string): boolean {
    return this.#buffers.has(key) || (this.base?.has(key) ?? false);
  }

  get bytes(): number {
    return [...this.#buffers.values()].reduce((n, b) => n + b.bytes, 0);
  }

  get(key: string): GPUBuffer {
    const found = this.#buffers.get(key);
    if (!found && this.base) return this.base.get(key);
    if (!found) throw new CogwheelError("weights", `a weight must be loaded before it is bound, got ${key}; call load() with the plan's requests`);
    return found.buffer;
  }

  async load(requests: Iterable<WeightRequest>, { signal, onProgress }: LoadOptions = {}): Promise<void> {
    const missing = [...requests].filter((r) => !this.has(r.key));
    const total = missing.reduce((n, r) => n + r.bytes, 0);
    let done = 0;
    for (const request of missing) {
      signal?.throwIfAborted();
      const data = pack(await this.#concatenated(request, signal), request.shape, request.packing);
      this.#buffers.set(request.key, this.gpu.buffer(request.key, request.bytes, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC, data));
      onProgress?.((done += request.bytes), total);
    }
  }

  async #concatenated(request: WeightRequest, signal?: AbortSignal): Promise<Float32Array | Uint16Array> {
    const { names, dtype, shape } = request;
    if (names.length === 1) {
      const data = await this.provider.read(names[0]!, dtype, signal);
      this.#check(request, data.length);
      return data;
    }
    const whole = dtype === "f16" ? new Uint16Array(elements(shape)) : new Float32Array(elements(shape));
    let at = 0;
    for (const name of names) {
      const part = await this.provider.read(name, dtype, signal);
      if (at + part.length > whole.length) this.#check(request, at + part.length);
      whole.set(part, at);
      at += part.length;
    }
    this.#check(request, at);
    return whole;
  }

  #check(request: WeightRequest, got: number): void {
    if (got !== elements(request.shape)) {
      throw new CogwheelError("weights", `${request.names.join(" + ")} must have shape [${request.shape.join(", ")}], got ${got} values; check the checkpoint against its config`);
    }
  }

  [Symbol.dispose](): void {
    for (const buffer of this.#buffers.values()) buffer[Symbol.dispose]();
    this.#buffers.clear();
  }
}
