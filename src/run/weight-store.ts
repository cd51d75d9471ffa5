/** Weights on the GPU: read from a provider, packed for the kernels that read them, kept until disposed of. */
import { CogwheelError } from "../base/errors.ts";
import type { Gpu, OwnedBuffer } from "../gpu/gpu.ts";
import { UPLOAD_BYTES } from "../gpu/uploader.ts";
import type { Plan, WeightRequest } from "../plan/compile.ts";
import { padTo } from "../graph/packing.ts";
import { BlockStore } from "./block-store.ts";
import type { LoadOptions } from "./load-options.ts";
import { WeightLoader } from "./weight-loader.ts";
import type { WeightProvider } from "./weight-provider.ts";

/** What is read and being converted at once, of any source. */
const READ_BYTES = 64 << 20;

/** Bytes of the host's memory that loading so many bytes of weights takes besides them, at most: what is read and what is on its way. */
export const loadingBytes = (weights: number): number => Math.min(weights, READ_BYTES) + Math.min(weights, UPLOAD_BYTES);

export type { LoadOptions };

/** A plan that was made before, if it is for weights as this provider stores them: it need not be made again. */
export function planFor(plan: Plan | undefined, provider: Pick<WeightProvider, "type">): Plan | undefined {
  const fits = (name: string): boolean => plan!.graph.weightType(name) === provider.type(name);
  return plan &&
    [...plan.weights.values(), ...plan.streamed.values(), ...[...plan.asStored.values()].map(({ weight }) => weight)].every(({ names }) =>
      names.every(fits),
    )
    ? plan
    : undefined;
}

export class WeightStore implements Disposable {
  readonly #buffers = new Map<string, OwnedBuffer>();
  #blocks: BlockStore | undefined;
  #disposed = false;
  /** Resolves when the last load that was asked for is over. */
  #loading: Promise<unknown> = Promise.resolve();

  /** @param base weights that are there already, and that are not read again; it stays its owner's */
  constructor(
    readonly gpu: Gpu,
    readonly provider: WeightProvider,
    private readonly base?: WeightStore,
  ) {}

  /** Weights that stay as they are stored. */
  get blocks(): BlockStore {
    if (this.base) return this.base.blocks;
    return (this.#blocks ??= new BlockStore(this.gpu, this.provider));
  }

  has(key: string): boolean {
    return this.#buffers.has(key) || (this.base?.has(key) ?? false);
  }

  get bytes(): number {
    return [...this.#buffers.values()].reduce((n, b) => n + b.bytes, 0);
  }

  get(key: string): GPUBuffer {
    const found = this.#buffers.get(key);
    if (!found && this.base) return this.base.get(key);
    if (!found)
      throw new CogwheelError("weights", `a weight must be loaded before it is bound, got ${key}; call load() with the plan's requests`);
    return found.buffer;
  }

  /**
   * Reads what is not there yet. An error or an abort leaves what was read whole for the next time, but nothing where WebGPU reported an
   * error: a buffer that there was no memory for is one all the same, and invalid. Loads that are asked for at once follow each other.
   */
  async load(requests: Iterable<WeightRequest>, { what = "loading weights", ...options }: LoadOptions = {}): Promise<void> {
    const wanted = [...requests];
    const before = this.#loading;
    const mine = (async () => {
      await before.catch(() => undefined);
      options.signal?.throwIfAborted();
      const missing = wanted.filter((r) => !this.has(r.key));
      if (missing.length)
        await this.gpu.scoped(
          what,
          () => this.#load(missing, options),
          () => this.#drop(missing),
        );
    })();
    await (this.#loading = mine);
  }

  async #load(missing: readonly WeightRequest[], { signal, onProgress }: LoadOptions): Promise<void> {
    const total = missing.reduce((n, r) => n + r.bytes, 0);
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
    using loader = new WeightLoader(
      this.gpu,
      this.provider,
      missing.reduce((n, r) => n + padTo(r.bytes, 16), 0),
    );
    const whole: [key: string, buffer: OwnedBuffer][] = [];
    let done = 0;
    try {
      for (const request of missing) {
        signal?.throwIfAborted();
        const owned = this.gpu.buffer(request.key, request.bytes, usage);
        try {
          await loader.load(request, owned.buffer, signal);
        } catch (error) {
          loader.forget(owned.buffer);
          owned[Symbol.dispose]();
          throw error;
        }
        whole.push([request.key, owned]);
        onProgress?.((done += request.bytes), total);
      }
    } finally {
      // What was read before an error or an abort is there for the next time.
      for (const [key, owned] of whole) {
        if (this.#disposed) {
          loader.forget(owned.buffer);
          owned[Symbol.dispose]();
        } else this.#buffers.set(key, owned);
      }
      loader.send();
    }
  }

  #drop(requests: readonly WeightRequest[]): void {
    for (const { key } of requests) {
      this.#buffers.get(key)?.[Symbol.dispose]();
      this.#buffers.delete(key);
    }
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    for (const buffer of this.#buffers.values()) buffer[Symbol.dispose]();
    this.#buffers.clear();
    this.#blocks?.[Symbol.dispose]();
  }
}
