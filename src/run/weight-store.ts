/** Weights on the GPU: read from a provider, packed for the kernels that read them, kept until disposed of. */
import { CogwheelError } from "../base/errors.ts";
import { linkedAbort } from "../base/linked-abort.ts";
import type { Gpu, OwnedBuffer } from "../gpu/gpu.ts";
import { UPLOAD_ALIGNMENT, UPLOAD_BYTES } from "../gpu/uploader.ts";
import type { Plan, WeightRequest } from "../plan/compile.ts";
import { padTo } from "../graph/packing.ts";
import { BlockStore } from "./block-store.ts";
import type { LoadOptions } from "./load-options.ts";
import { WeightLoader } from "./weight-loader.ts";
import { judged, Misfit } from "./misfit.ts";
import type { WeightProvider } from "./weight-provider.ts";

/** Of counters and parameters on the device. */
const BESIDES = 256 << 10;

/** Bytes of memory that loading so many bytes of weights takes besides them, at most: what is on its way. */
export const loadingBytes = (weights: number): number => (weights > 0 ? Math.min(4 * weights, UPLOAD_BYTES) + BESIDES : 0);

/** Weights whose reads may be under way at once, so that small ones share a submit and none waits for the one before. */
const AT_ONCE = 16;

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

/** Weights on a device, which the programs of a model share. */
export class WeightStore implements Disposable {
  readonly #buffers = new Map<string, OwnedBuffer>();
  readonly #requests = new Map<string, WeightRequest>();
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

  /**
   * Reads once more what is there of some weights, into the memory that it has: their provider has other values by now. Nothing that reads
   * them may be under way.
   */
  async renew(which: (names: readonly string[]) => boolean): Promise<void> {
    const changed = [...this.#requests.values()].filter(({ key, names }) => this.#buffers.has(key) && which(names));
    if (!changed.length) return;
    using loader = new WeightLoader(
      this.gpu,
      this.provider,
      changed.reduce((n, { bytes }) => n + padTo(bytes, UPLOAD_ALIGNMENT), 0),
    );
    await this.gpu.scoped("renewing weights", () =>
      Promise.all(changed.map((request) => loader.load(request, this.#buffers.get(request.key)!.buffer))),
    );
  }

  async #load(missing: readonly WeightRequest[], { signal, onProgress }: LoadOptions): Promise<void> {
    const total = missing.reduce((n, r) => n + r.bytes, 0);
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
    using loader = new WeightLoader(
      this.gpu,
      this.provider,
      missing.reduce((n, r) => n + padTo(r.bytes, UPLOAD_ALIGNMENT), 0),
    );
    using reads = linkedAbort(signal);
    this.provider.prefetch?.(
      missing.flatMap(({ names }) => names),
      reads.signal,
    );
    let done = 0;
    let failed: { error: unknown } | undefined;
    const load = async (request: WeightRequest): Promise<void> => {
      const owned = this.gpu.buffer(request.key, request.bytes, usage);
      try {
        await loader.load(request, owned.buffer, signal);
      } catch (error) {
        owned[Symbol.dispose]();
        throw error;
      }
      // What came before an error or an abort is there for the next time.
      if (this.#disposed) owned[Symbol.dispose]();
      else {
        this.#buffers.set(request.key, owned);
        this.#requests.set(request.key, request);
      }
      onProgress?.((done += request.bytes), total);
    };
    const next = missing[Symbol.iterator]();
    const one = async (): Promise<void> => {
      for (const request of next) {
        if (failed) return;
        signal?.throwIfAborted();
        await load(request);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, () => one().catch((error: unknown) => void (failed ??= { error }))));
    reads.abort();
    const misfits = await this.#judge(loader, missing, signal).catch((error: unknown) => {
      // Nobody knows whether they fit.
      this.#drop(missing.filter(({ dtype }) => dtype === "f16"));
      throw failed ? failed.error : error;
    });
    if (failed) throw failed.error;
    if (misfits.length) throw new Misfit(misfits);
  }

  /** Weights that were loaded as f16 and do not fit it; they are gone again. */
  async #judge(loader: WeightLoader, loaded: readonly WeightRequest[], signal?: AbortSignal): Promise<readonly string[]> {
    const misfits = new Set(await judged(loader, this.provider, signal));
    this.#drop(loaded.filter(({ dtype, names }) => dtype === "f16" && names.some((name) => misfits.has(name))));
    return [...misfits];
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
