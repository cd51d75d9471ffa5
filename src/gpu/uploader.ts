/**
 * Bytes on their way to buffers, through two mapped buffers that are filled in turn. A buffer that is made with its content
 * (`mappedAtCreation`) has that content twice until a submit frees the copy, which for a model is its size again; here what is
 * under way is bounded, and the same pages are written again and again instead of fresh ones. While one part is copied the
 * next is filled.
 */
import { CogwheelError } from "../base/errors.ts";
import type { Gpu, OwnedBuffer } from "./gpu.ts";
import { mapBuffer } from "./map.ts";

/** Bytes of each of the two. */
const PART_BYTES = 16 << 20;

/** The most that an upload has under way. */
export const UPLOAD_BYTES = 2 * PART_BYTES;

interface Copy {
  readonly to: GPUBuffer;
  readonly at: number;
  readonly from: number;
  bytes: number;
}

interface Part {
  readonly owned: OwnedBuffer;
  mapped: Promise<void> | undefined;
  range: Uint8Array | undefined;
}

export class Uploader implements Disposable {
  readonly #gpu: Gpu;
  readonly #partBytes: number;
  readonly #parts: Part[] = [];
  #filling = 0;
  #used = 0;
  #copies: Copy[] = [];

  /** @param bytes how much will be put at all, where that is known: what is less than a part makes a smaller one */
  constructor(gpu: Gpu, bytes = Infinity) {
    this.#gpu = gpu;
    this.#partBytes = Math.min(PART_BYTES, Math.max(256, Math.ceil(bytes / 256) * 256));
  }

  /**
   * Copies `data` to `to`, at byte `at`; both a multiple of 4. It is on the device when `send` has been
   * called and work that is submitted later runs.
   */
  async put(to: GPUBuffer, at: number, data: ArrayBufferView): Promise<void> {
    for (let done = 0; done < data.byteLength; ) {
      if (this.#used === this.#partBytes) this.send();
      const range = this.#parts[this.#filling]?.range ?? (await this.#next());
      const bytes = Math.min(data.byteLength - done, this.#partBytes - this.#used);
      range.set(new Uint8Array(data.buffer, data.byteOffset + done, bytes), this.#used);
      const last = this.#copies.at(-1);
      if (last?.to === to && last.at + last.bytes === at + done) last.bytes += bytes;
      else this.#copies.push({ to, at: at + done, from: this.#used, bytes });
      this.#used += bytes;
      done += bytes;
    }
  }

  /** The part that is to be filled, once what it held before has been copied. */
  async #next(): Promise<Uint8Array> {
    try {
      // Mapped memory that cannot be had is a RangeError of WebGPU's.
      const part = (this.#parts[this.#filling] ??= {
        owned: this.#gpu.buffer("upload", this.#partBytes, GPUBufferUsage.MAP_WRITE | GPUBufferUsage.COPY_SRC, "mapped"),
        mapped: undefined,
        range: undefined,
      });
      await part.mapped;
      return (part.range = new Uint8Array(part.owned.buffer.getMappedRange()));
    } catch (error) {
      if (error instanceof CogwheelError) throw error;
      this.#gpu.assertAlive();
      throw new CogwheelError(
        "gpu",
        `uploading ${this.#partBytes} bytes at once failed: ${(error as Error).message}; ` +
          "free memory, or choose a smaller size or --dtype f16",
        { cause: error },
      );
    }
  }

  /** Submits what was put. */
  send(): void {
    const part = this.#parts[this.#filling];
    if (!part?.range || this.#used === 0) return;
    part.range = undefined;
    part.owned.buffer.unmap();
    const encoder = this.#gpu.device.createCommandEncoder({ label: "upload" });
    for (const { to, at, from, bytes } of this.#copies) encoder.copyBufferToBuffer(part.owned.buffer, from, to, at, bytes);
    this.#gpu.device.queue.submit([encoder.finish()]);
    part.mapped = mapBuffer(part.owned.buffer, GPUMapMode.WRITE);
    part.mapped.catch(() => undefined); // of a part that is never filled again
    this.#copies = [];
    this.#used = 0;
    this.#filling = 1 - this.#filling;
  }

  /** Takes back what was put to a buffer and not sent; it may be destroyed then. */
  forget(to: GPUBuffer): void {
    this.#copies = this.#copies.filter((copy) => copy.to !== to);
  }

  [Symbol.dispose](): void {
    for (const { owned } of this.#parts) owned[Symbol.dispose]();
    this.#parts.length = 0;
  }
}
