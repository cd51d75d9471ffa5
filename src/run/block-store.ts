/**
 * Weights that stay on the device as they are stored: 8 or 4 bits a value, most of them. A kernel reads no such thing, so a run unpacks a
 * layer's weights into slots (src/plan/slots.ts) before it uses them. That costs a hundredth of the layer's work where it has thousands of
 * rows, and the kernels stay those that were measured for f16. Weights that are quantized as they come are so on the device.
 */
import { allOver } from "../base/all-over.ts";
import { CogwheelError } from "../base/errors.ts";
import { linkedAbort } from "../base/linked-abort.ts";
import type { Gpu, OwnedBuffer } from "../gpu/gpu.ts";
import { FILL_BYTES, UPLOAD_ALIGNMENT, Uploader } from "../gpu/uploader.ts";
import { elements } from "../graph/dtype.ts";
import { FORMATS, storedBytes, type Format, type StoredWeight } from "../graph/stored.ts";
import type { WeightRequest } from "../plan/weight-request.ts";
import { isQuantizedFrom, isQuantizedTo, type QuantizedFrom, type QuantizedTo } from "../plan/quantize-weight.ts";
import { Quantizer } from "./quantizer.ts";
import type { PreparedUnpack, Unpacker } from "./unpacker.ts";
import type { LoadOptions } from "./load-options.ts";
import type { WeightProvider } from "./weight-provider.ts";

export class BlockStore implements Disposable {
  readonly #held = new Map<string, { readonly owned: OwnedBuffer; readonly weight: StoredWeight }>();

  constructor(
    private readonly gpu: Gpu,
    private readonly provider: WeightProvider,
  ) {}

  /**
   * Reads what is not there yet of the weights of some requests, each of which is in one format. What was read whole before an error is
   * there for the next time, but nothing where WebGPU reported an error.
   */
  async load(
    requests: Iterable<{ readonly weight: WeightRequest; readonly format: Format }>,
    { what = "loading weights", ...options }: LoadOptions = {},
  ): Promise<void> {
    const missing = new Map<string, StoredWeight>();
    for (const { weight: request, format } of requests)
      for (const name of request.names) {
        if (this.#held.has(name)) continue;
        const weight = this.provider.stored(name);
        if (weight.format !== format)
          throw new CogwheelError(
            "weights",
            `a weight that stays as it is stored must be ${format}, as its plan says, got ${weight.format} for ${name}; plan it anew`,
          );
        missing.set(name, weight);
      }
    if (missing.size === 0) return;
    await this.gpu.scoped(
      what,
      () => this.#load(missing, options),
      () => {
        for (const name of missing.keys()) {
          this.#held.get(name)?.owned[Symbol.dispose]();
          this.#held.delete(name);
        }
      },
    );
  }

  async #load(missing: ReadonlyMap<string, StoredWeight>, { signal, onProgress }: LoadOptions): Promise<void> {
    const total = [...missing.values()].reduce((n, weight) => n + storedBytes(weight), 0);
    const room = total + UPLOAD_ALIGNMENT * missing.size;
    using quantizer = new Quantizer(this.gpu);
    using uploader = new Uploader(this.gpu, room, () => quantizer.settle());
    using over = linkedAbort(signal);
    const given = over.signal;
    using reads = linkedAbort(given);
    this.provider.prefetch?.([...missing.keys()], reads.signal);
    let done = 0;
    const loading = [...missing].map(async ([name, weight]) => {
      given.throwIfAborted();
      const owned = this.gpu.buffer(`stored ${name}`, storedBytes(weight), GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST);
      try {
        const { plain } = weight;
        if (plain && isQuantizedFrom(plain.format) && isQuantizedTo(weight.format))
          await this.#quantize({ uploader, quantizer, room }, plain, weight.format, owned.buffer, given);
        else await this.#fill(uploader, weight, owned.buffer, given);
      } catch (error) {
        over.abort(error);
        owned[Symbol.dispose]();
        throw error;
      }
      this.#held.set(name, { owned, weight });
      onProgress?.((done += storedBytes(weight)), total);
    });
    await allOver(loading)
      .catch((error: unknown) => {
        throw over.signal.aborted ? over.signal.reason : error;
      })
      .finally(() => reads.abort());
  }

  /** Resolves when all of a weight is on its way; rejects when nothing of it is any more. */
  async #fill(uploader: Uploader, weight: StoredWeight, to: GPUBuffer, signal: AbortSignal): Promise<void> {
    const { bytes: block } = FORMATS[weight.format];
    // An even number of blocks is whole words, of every format.
    const most = Math.floor(FILL_BYTES / (4 * block)) * 4 * block;
    const bytes = storedBytes(weight);
    const pieces: Promise<void>[] = [];
    for (let at = 0; at < bytes; at += most) {
      const size = Math.min(most, bytes - at);
      const use = (encoder: GPUCommandEncoder, from: Required<GPUBufferBinding>) =>
        encoder.copyBufferToBuffer(from.buffer, from.offset, to, at, Math.ceil(size / 4) * 4);
      pieces.push(uploader.put({ bytes: size, fill: (memory) => weight.read(at, memory, signal), read: false, use }, signal));
    }
    await allOver(pieces);
  }

  /** As `#fill`, of blocks that the device makes of a weight's values. @param room of one of the uploader's buffers, at least */
  async #quantize(
    { uploader, quantizer, room }: { readonly uploader: Uploader; readonly quantizer: Quantizer; readonly room: number },
    plain: StoredWeight,
    format: QuantizedTo,
    to: GPUBuffer,
    signal: AbortSignal,
  ): Promise<void> {
    const source = plain.format as QuantizedFrom;
    const { values, bytes } = FORMATS[format];
    const width = values * FORMATS[source].bytes;
    // An even number of blocks is whole words.
    const most = 2 * Math.max(1, Math.floor(Math.min(FILL_BYTES, room) / (2 * width)));
    const blocks = elements(plain.shape) / values;
    const pieces: Promise<void>[] = [];
    for (let first = 0; first < blocks; first += most) {
      const count = Math.min(most, blocks - first);
      pieces.push(
        uploader.put(
          {
            bytes: count * width,
            fill: (memory) => plain.read(first * width, memory, signal),
            read: true,
            use: (encoder, { buffer, offset }) =>
              quantizer.encode(encoder, buffer, to, { from: source, to: format, blocks: count, at: { x: offset, y: first * bytes } }),
          },
          signal,
        ),
      );
    }
    await allOver(pieces);
  }

  /** What unpacks a request's weights, one behind the other, to byte `at` of a buffer; the caller's to dispose of. */
  async prepare(unpacker: Unpacker, { names, shape, packing, dtype }: WeightRequest, to: GPUBuffer, at: number): Promise<PreparedUnpack[]> {
    const width = elements(shape.slice(1));
    const parts: PreparedUnpack[] = [];
    try {
      let firstRow = 0;
      for (const name of names) {
        const { owned, weight } = this.#held.get(name)!;
        const rows = elements(weight.shape) / width;
        const changes = this.provider.changes?.(name);
        parts.push(
          await unpacker.prepare({
            from: { buffer: owned.buffer, offset: 0, size: owned.bytes },
            format: weight.format,
            ...(weight.scale ? { scale: weight.scale } : {}),
            ...(changes?.length ? { changes } : {}),
            shape,
            firstRow,
            rows,
            packing,
            dtype: dtype as "f32" | "f16",
            to,
            at,
          }),
        );
        firstRow += rows;
      }
      if (firstRow !== (shape[0] ?? 1))
        throw new CogwheelError(
          "weights",
          `${names.join(" + ")} must have shape [${shape.join(", ")}], got ${firstRow} rows; check the checkpoint against its config`,
        );
      return parts;
    } catch (error) {
      for (const part of parts) part[Symbol.dispose]();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    for (const { owned } of this.#held.values()) owned[Symbol.dispose]();
    this.#held.clear();
  }
}
