/** Brings weights onto the device in the layout that a plan's kernels read. */
import { CogwheelError } from "../base/errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { Uploader } from "../gpu/uploader.ts";
import { elements } from "../graph/dtype.ts";
import { Packer, type WeightValues } from "../graph/packing.ts";
import type { WeightRequest } from "../plan/compile.ts";
import { weightParts, type WeightProvider } from "./weight-provider.ts";

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
    for (const name of names)
      for await (const values of weightParts(this.provider, name, dtype, signal)) {
        const wanted = dtype === "f16" ? Uint16Array : Float32Array;
        if (!(values instanceof wanted))
          throw new CogwheelError(
            "weights",
            `a provider must give ${dtype} as ${wanted.name}${dtype === "f16" ? " of raw bits" : ""}, ` +
              `got ${Object.prototype.toString.call(values).slice(8, -1)} for ${name}; ` +
              "convert what it reads to the type that it is asked for",
          );
        if (packer.count + values.length > size) mismatch(request, packer.count + values.length);
        await put(packer.push(values));
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
