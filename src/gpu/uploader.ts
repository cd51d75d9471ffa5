/**
 * Bytes on their way to the device, through a ring of mapped buffers. Whoever has bytes writes them into a mapped buffer (a file is read
 * straight into it) and says what becomes of them there. While some are written, those before them are copied and worked on, and the same
 * pages are used again and again: what is under way is bounded, whatever the size of all that passes.
 *
 * A buffer is handed over as soon as all that was begun in it is written and nobody waits for a place in it. Kernels cannot read a mapped
 * buffer, so what they are to read is copied to one that lies on the device, which all share: the queue keeps the order.
 */
import { waitFor } from "#platform";
import { CogwheelError } from "../base/errors.ts";
import type { Gpu, OwnedBuffer } from "./gpu.ts";
import { mapBuffer } from "./map.ts";

/**
 * Bytes of a mapped buffer, and how many there are. Large enough that what a submit and a read cost by themselves is little; small, because
 * Node counts mapped memory as garbage that is to come: with three buffers of 16 MiB it collected once in 80 MB, which took a quarter of
 * all the time that T5-XXL's load had of the processor.
 */
const PIECE_BYTES = 2 << 20;
const PIECES = 8;

/** The most that an upload takes of memory, mapped and on the device. */
export const UPLOAD_BYTES = (PIECES + 1) * PIECE_BYTES;

/** What is best written at once: reads are under way into all buffers. */
export const FILL_BYTES = PIECE_BYTES;

/** Places begin at multiples of it: what a binding may begin at. */
export const UPLOAD_ALIGNMENT = 256;

export interface Delivery {
  readonly bytes: number;
  /** Writes them. The memory is a mapped buffer's: nothing may be written to it once the promise has settled. */
  readonly fill: (memory: Uint8Array<ArrayBuffer>) => Promise<void>;
  /** Are kernels to read them? Else they are only copied from. */
  readonly read: boolean;
  /** Encodes what becomes of them. */
  readonly use: (encoder: GPUCommandEncoder, from: Required<GPUBufferBinding>) => void | Promise<void>;
}

/** A delivery with its place in a buffer. */
interface Placed extends Delivery {
  readonly at: number;
  failed: boolean;
}

interface Piece {
  owned: OwnedBuffer;
  memory: ArrayBuffer;
  used: number;
  /** How many are being written. */
  filling: number;
  placed: Placed[];
  /** Resolves when what is in it was submitted. */
  sent: Promise<void>;
  settle: { resolve: () => void; reject: (error: unknown) => void };
}

export class Uploader implements Disposable {
  readonly #gpu: Gpu;
  readonly #pieceBytes: number;
  readonly #pieces: number;
  readonly #submitted: (() => void) | undefined;
  readonly #all: Piece[] = [];
  /** Those that were submitted, the oldest first. */
  readonly #sent: Piece[] = [];
  #open: Piece | undefined;
  #scratch: OwnedBuffer | undefined;
  /** Who waits for a place, one after another, and how many they are. */
  #turn: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #sending: Promise<unknown> = Promise.resolve();
  #wake = (): void => undefined;

  /**
   * @param bytes how much will be put at all, where that is known: what is less than the buffers makes fewer and smaller ones, of four
   *   times as much with the one on the device
   * @param submitted is called after each submit
   */
  constructor(gpu: Gpu, bytes = Infinity, submitted?: () => void) {
    this.#gpu = gpu;
    this.#pieceBytes = Math.min(PIECE_BYTES, Math.max(UPLOAD_ALIGNMENT, padTo(bytes)));
    this.#pieces = Math.min(PIECES, Math.max(3, Math.floor((3 * bytes) / this.#pieceBytes)));
    this.#submitted = submitted;
  }

  /**
   * Delivers, and resolves when it was submitted: work that is submitted later finds it done. What is given up is not: it resolves or
   * rejects when nothing is under way of it any more. Any number may be begun at once; they get their places in the order of the calls.
   */
  async put(delivery: Delivery, signal?: AbortSignal): Promise<void> {
    this.#waiting++;
    const taken = this.#turn.then(() => this.#take(delivery, signal));
    this.#turn = taken.then(
      () => this.#taken(),
      () => this.#taken(),
    );
    const { piece, placed } = await taken;
    try {
      await delivery.fill(new Uint8Array(piece.memory, placed.at, delivery.bytes));
    } catch (error) {
      placed.failed = true;
      throw error;
    } finally {
      piece.filling--;
      this.#sendIfDone(piece);
    }
    await piece.sent;
  }

  #taken(): void {
    this.#waiting--;
    if (this.#open) this.#sendIfDone(this.#open);
  }

  async #take(delivery: Delivery, signal?: AbortSignal): Promise<{ piece: Piece; placed: Placed }> {
    signal?.throwIfAborted();
    const bytes = padTo(delivery.bytes);
    if (this.#open && this.#open.used + bytes > this.#open.owned.bytes) {
      const full = this.#open;
      this.#open = undefined;
      this.#sendIfDone(full);
    }
    const piece = (this.#open ??= await this.#next(bytes));
    const placed = { ...delivery, at: piece.used, failed: false };
    piece.used += bytes;
    piece.filling++;
    piece.placed.push(placed);
    return { piece, placed };
  }

  /** A buffer to be filled, once what it held before has been copied. */
  async #next(bytes: number): Promise<Piece> {
    const size = Math.max(bytes, this.#pieceBytes);
    try {
      if (this.#all.length < this.#pieces) {
        const owned = this.#buffer(size);
        this.#all.push(emptied(owned));
        return this.#all.at(-1)!;
      }
      while (this.#sent.length === 0) await new Promise<void>((resolve) => (this.#wake = resolve));
      const piece = this.#sent.shift()!;
      if (piece.owned.bytes >= bytes) {
        await waitFor(this.#gpu.device, mapBuffer(piece.owned.buffer, GPUMapMode.WRITE));
        return Object.assign(piece, emptied(piece.owned));
      }
      piece.owned[Symbol.dispose]();
      return Object.assign(piece, emptied(this.#buffer(size)));
    } catch (error) {
      if (error instanceof CogwheelError) throw error;
      this.#gpu.assertAlive();
      throw new CogwheelError(
        "gpu",
        `uploading ${size} bytes at once failed: ${(error as Error).message}; ` + "free memory, or choose a smaller size or --dtype f16",
        { cause: error },
      );
    }
  }

  /** Mapped memory that cannot be had is a RangeError of WebGPU's. */
  #buffer(bytes: number): OwnedBuffer {
    return this.#gpu.buffer("upload", bytes, GPUBufferUsage.MAP_WRITE | GPUBufferUsage.COPY_SRC, "mapped");
  }

  #sendIfDone(piece: Piece): void {
    if (piece.filling > 0 || piece.placed.length === 0) return;
    if (this.#open === piece) {
      if (this.#waiting > 0) return;
      this.#open = undefined;
    }
    const { settle } = piece;
    const sent = this.#sending.then(() => this.#send(piece));
    this.#sending = sent
      .catch(() => undefined)
      .then(() => {
        this.#sent.push(piece);
        this.#wake();
      });
    sent.then(settle.resolve, settle.reject);
  }

  async #send(piece: Piece): Promise<void> {
    const { device } = this.#gpu;
    const mapped = piece.owned.buffer;
    const placed = piece.placed.filter(({ failed }) => !failed);
    piece.placed = [];
    mapped.unmap();
    if (placed.length === 0) return;
    const copies = device.createCommandEncoder({ label: "upload" });
    const work = device.createCommandEncoder({ label: "unpack" });
    const ends = Math.max(0, ...placed.map(({ read, at, bytes }) => (read ? at + padTo(bytes) : 0)));
    const scratch = ends > 0 ? this.#device(ends) : undefined;
    let [start, end] = [0, 0];
    const copy = (): void => {
      if (end > start) copies.copyBufferToBuffer(mapped, start, scratch!, start, end - start);
    };
    for (const { read, at, bytes, use } of placed) {
      if (read) {
        if (at !== end) {
          copy();
          start = at;
        }
        end = at + padTo(bytes);
      }
      await use(read ? work : copies, { buffer: read ? scratch! : mapped, offset: at, size: bytes });
    }
    copy();
    // Apart, so that the mapped buffer is free as soon as it is copied.
    device.queue.submit([copies.finish()]);
    if (scratch) device.queue.submit([work.finish()]);
    this.#submitted?.();
  }

  #device(bytes: number): GPUBuffer {
    if (!this.#scratch || this.#scratch.bytes < bytes) {
      this.#scratch?.[Symbol.dispose]();
      this.#scratch = this.#gpu.buffer("unpack", Math.max(bytes, this.#pieceBytes), GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST);
    }
    return this.#scratch.buffer;
  }

  /** Once nothing is under way. */
  [Symbol.dispose](): void {
    for (const { owned } of this.#all) owned[Symbol.dispose]();
    this.#scratch?.[Symbol.dispose]();
    this.#all.length = 0;
  }
}

const padTo = (bytes: number): number => Math.ceil(bytes / UPLOAD_ALIGNMENT) * UPLOAD_ALIGNMENT;

/** A piece that holds nothing yet. */
function emptied(owned: OwnedBuffer): Piece {
  const { promise, resolve, reject } = withResolvers();
  promise.catch(() => undefined); // of one in which everything failed
  return {
    owned,
    memory: owned.buffer.getMappedRange(),
    used: 0,
    filling: 0,
    placed: [],
    sent: promise,
    settle: { resolve, reject },
  };
}

function withResolvers(): { promise: Promise<void>; resolve: () => void; reject: (error: unknown) => void } {
  let [resolve, reject] = [(): void => undefined, (_error: unknown): void => undefined];
  const promise = new Promise<void>((yes, no) => ([resolve, reject] = [yes, no]));
  return { promise, resolve, reject };
}
