/**
 * Three ways of bringing bytes into a buffer of the device, in Node and in browsers, with WebGPU's own calls: what the engine's loader is
 * measured against. Each keeps a few reads under way.
 */
import type { Gpu } from "../../src/gpu/gpu.ts";
import { destroyBuffer, mapBuffer } from "../../src/gpu/map.ts";

/** Bytes from `start` on, into all of `into`; several reads may be under way. */
export type Read = (start: number, into: Uint8Array<ArrayBuffer>) => Promise<void>;

export const WAYS = ["mapped ring", "writeBuffer", "mappedAtCreation"] as const;
export type Way = (typeof WAYS)[number];

/** Bytes of a read; `writeBuffer` above 4 MiB makes a staging buffer of its own in every call (Dawn's DynamicUploader). */
const PIECE: Readonly<Record<Way, number>> = { "mapped ring": 8 << 20, writeBuffer: 4 << 20, mappedAtCreation: 8 << 20 };
/** Reads under way. */
const READS = 4;
/** What `writeBuffer` may have pending: it never waits by itself. */
const PENDING = 64 << 20;
/** As large as a large matrix. */
const MATRIX = 64 << 20;

/** Does `work` on every piece of `bytes`, of which so many are under way at once. */
async function inPieces(
  bytes: number,
  piece: number,
  lanes: number,
  work: (start: number, length: number, lane: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: lanes }, async (_, lane) => {
      while (next < bytes) {
        const start = next;
        next += piece;
        await work(start, Math.min(piece, bytes - start), lane);
      }
    }),
  );
}

/** Reads into memory of the host and leaves it there. */
export async function readAlone(read: Read, bytes: number): Promise<void> {
  const memory = Array.from({ length: READS }, () => new Uint8Array(PIECE["mapped ring"]));
  await inPieces(bytes, PIECE["mapped ring"], READS, (start, length, lane) => read(start, memory[lane]!.subarray(0, length)));
}

/** Where bytes go: buffers of the device, one behind the other. */
export interface Delivery extends Disposable {
  /** Brings everything; resolves when it is on the device. */
  bring(read: Read): Promise<void>;
  /** The bytes on the device, for the check. */
  parts(): readonly { readonly buffer: GPUBuffer; readonly bytes: number }[];
}

/** What a way keeps between runs is made here, not in the time that is measured. */
export function delivery(way: Way, gpu: Gpu, bytes: number): Delivery {
  if (way === "mappedAtCreation") return mappedMatrices(gpu, bytes);
  const target = gpu.buffer("bench target", bytes, GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC);
  const parts = () => [{ buffer: target.buffer, bytes }];
  return way === "mapped ring" ? { ...mappedRing(gpu, target, bytes), parts } : { ...written(gpu, target, bytes), parts };
}

type Target = ReturnType<Gpu["buffer"]>;

function mappedRing(gpu: Gpu, target: Target, bytes: number): Omit<Delivery, "parts"> {
  const piece = PIECE["mapped ring"];
  const ring = Array.from({ length: READS }, () => ({
    owned: gpu.buffer("bench ring", piece, GPUBufferUsage.MAP_WRITE | GPUBufferUsage.COPY_SRC, "mapped"),
    mapped: Promise.resolve(),
  }));
  return {
    async bring(read) {
      await inPieces(bytes, piece, READS, async (start, length, lane) => {
        const part = ring[lane]!;
        await part.mapped;
        await read(start, new Uint8Array(part.owned.buffer.getMappedRange(), 0, length));
        part.owned.buffer.unmap();
        const encoder = gpu.device.createCommandEncoder();
        encoder.copyBufferToBuffer(part.owned.buffer, 0, target.buffer, start, length);
        gpu.device.queue.submit([encoder.finish()]);
        part.mapped = mapBuffer(part.owned.buffer, GPUMapMode.WRITE);
      });
      await gpu.idle();
      await Promise.all(ring.map(({ mapped }) => mapped));
    },
    [Symbol.dispose]() {
      for (const { owned } of ring) owned[Symbol.dispose]();
      target[Symbol.dispose]();
    },
  };
}

function written(gpu: Gpu, target: Target, bytes: number): Omit<Delivery, "parts"> {
  const memory = Array.from({ length: READS }, () => new Uint8Array(PIECE.writeBuffer));
  return {
    async bring(read) {
      let pending = 0;
      let waiting = Promise.resolve();
      await inPieces(bytes, PIECE.writeBuffer, READS, async (start, length, lane) => {
        const piece = memory[lane]!.subarray(0, length);
        await read(start, piece);
        await waiting;
        gpu.device.queue.writeBuffer(target.buffer, start, piece);
        pending += length;
        if (pending >= PENDING) {
          pending = 0;
          gpu.device.queue.submit([]);
          waiting = gpu.idle();
        }
      });
      // What was written is on its way with the next submit.
      gpu.device.queue.submit([]);
      await gpu.idle();
    },
    [Symbol.dispose]() {
      target[Symbol.dispose]();
    },
  };
}

/** Each matrix a new buffer that is born with its content. */
function mappedMatrices(gpu: Gpu, bytes: number): Delivery {
  const made: { buffer: GPUBuffer; bytes: number }[] = [];
  const forget = (): void => {
    for (const { buffer } of made.splice(0)) destroyBuffer(buffer);
  };
  return {
    async bring(read) {
      forget();
      for (let at = 0; at < bytes; at += MATRIX) {
        const size = Math.min(MATRIX, bytes - at);
        const buffer = gpu.device.createBuffer({ size, usage: GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST, mappedAtCreation: true });
        made.push({ buffer, bytes: size });
        const range = buffer.getMappedRange();
        await inPieces(size, PIECE.mappedAtCreation, READS, (start, length) => read(at + start, new Uint8Array(range, start, length)));
        buffer.unmap();
      }
      await gpu.idle();
    },
    parts: () => made,
    [Symbol.dispose]: forget,
  };
}
