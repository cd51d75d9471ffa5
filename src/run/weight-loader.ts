/** Brings weights onto the device in the layout that a plan's kernels read. */
import { CogwheelError } from "../base/errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { Uploader } from "../gpu/uploader.ts";
import { elements } from "../graph/dtype.ts";
import { Packer, type WeightValues } from "../graph/packing.ts";
import type { WeightRequest } from "../plan/compile.ts";
import { hostValues } from "./host-values.ts";
import type { WeightProvider } from "./weight-provider.ts";

export class WeightLoader implements Disposable {
  readonly #uploader: Uploader;

  /** @param bytes how much will be loaded at all, where that is known */
  constructor(
    gpu: Gpu,
    private readonly provider: WeightProvider,
    bytes = Infinity,
  ) {
    this.#uploader = new Uploader(gpu, bytes);
  }

  /**
   * Reads the weights of a request, one behind the other, packs and uploads them as they come, to byte `at` of a buffer. They are there for
   * work that is submitted after `send`.
   */
  async load(request: WeightRequest, to: GPUBuffer, signal?: AbortSignal, at = 0): Promise<void> {
    const { names, dtype, shape, packing } = request;
    const size = elements(shape);
    const packer = new Packer(shape, packing, dtype);
    const put = async (blocks: Iterable<WeightValues>): Promise<void> => {
      for (const block of blocks) {
        await this.#uploader.put(to, at, block);
        at += block.byteLength;
      }
    };
    for (const name of names) {
      const stored = this.provider.stored(name);
      if (packer.count + elements(stored.shape) > size) mismatch(request, packer.count + elements(stored.shape));
      for await (const values of hostValues(stored, this.provider.changes?.(name) ?? [], dtype, signal)) await put(packer.push(values));
    }
    if (packer.count !== size) mismatch(request, packer.count);
    await put(packer.finish());
  }

  /** Submits what was loaded. */
  send(): void {
    this.#uploader.send();
  }

  /** Takes back what was loaded to a buffer and not sent; it may be destroyed then. */
  forget(to: GPUBuffer): void {
    this.#uploader.forget(to);
  }

  [Symbol.dispose](): void {
    this.#uploader[Symbol.dispose]();
  }
}

function mismatch({ names, shape }: WeightRequest, got: number): never {
  throw new CogwheelError(
    "weights",
    `${names.join(" + ")} must have shape [${shape.join(", ")}], got ${got} values; check the checkpoint against its config`,
  );
}
