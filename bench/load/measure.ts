/**
 * How fast bytes get from where a checkpoint lies onto the device: every place in every way, checked first, beside plain copies of as many
 * bytes in the same run. In Node and, in a worker of a page, in browsers.
 */
import type { Gpu } from "../../src/gpu/gpu.ts";
import type { DType } from "../../src/graph/dtype.ts";
import { packedBytes } from "../../src/graph/packing.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { summarise, type Summary } from "../measure/statistics.ts";
import { delivery, readAlone, WAYS, type Delivery, type Read, type Way } from "./ways.ts";

/** Where bytes lie. */
export interface Place {
  readonly name: string;
  readonly read: Read;
}

/** `read` goes to the host's memory alone; `engine` is the engine's own loader, which unpacks matrices into what its matmul reads. */
export interface LoadRow {
  readonly place: string;
  readonly way: Way | "read" | "engine";
  /** 1e9 stored bytes a second. */
  readonly rate: Summary;
}

export interface LoadFigures {
  readonly adapter: string;
  /** That were brought in each run. */
  readonly bytes: number;
  /** Plain copies of as many: from one array to another, and from one buffer of the device to another. */
  readonly copies: { readonly host: Summary; readonly device: Summary };
  /** In what the engine's loader stores. */
  readonly dtype: DType;
  readonly rows: readonly LoadRow[];
}

/** What lies at a place: bits of f16 numbers from 1 to 2, no two neighbours alike, so that what is misplaced is found. */
export function fillPattern(target: Uint8Array<ArrayBuffer>, start: number): void {
  const halves = new Uint16Array(target.buffer, target.byteOffset, target.length / 2);
  const first = start / 2;
  for (let i = 0; i < halves.length; i++) halves[i] = 0x3c00 | ((Math.imul(first + i, 0x9e3779b1) >>> 22) & 0x3ff);
}

/** Inputs of the matrices that the engine loads. */
const WIDTH = 4096;

export async function measureLoad(gpu: Gpu, places: readonly Place[], bytes: number, runs: number): Promise<LoadFigures> {
  const rateOf = async (work: () => Promise<unknown>): Promise<Summary> => {
    const rates: number[] = [];
    for (let i = 0; i < runs; i++) {
      const begun = performance.now();
      await work();
      rates.push(bytes / 1e6 / (performance.now() - begun));
    }
    return summarise(rates);
  };
  const copies = await measureCopies(gpu, bytes, rateOf);
  const rows: LoadRow[] = [];
  const dtype: DType = gpu.caps.f16 ? "f16" : "f32";
  for (const { name, read } of places) {
    await readAlone(read, bytes);
    rows.push({ place: name, way: "read", rate: await rateOf(() => readAlone(read, bytes)) });
    for (const way of WAYS) {
      using to = delivery(way, gpu, bytes);
      await to.bring(read);
      await check(gpu, to, `${name}, ${way}`);
      rows.push({ place: name, way, rate: await rateOf(() => to.bring(read)) });
    }
    const load = engineLoad(gpu, read, bytes, dtype);
    await load();
    rows.push({ place: name, way: "engine", rate: await rateOf(load) });
  }
  return { adapter: gpu.name, bytes, copies, dtype, rows };
}

async function measureCopies(
  gpu: Gpu,
  bytes: number,
  rateOf: (work: () => Promise<unknown>) => Promise<Summary>,
): Promise<LoadFigures["copies"]> {
  const [from, to] = [new Uint8Array(bytes).fill(1), new Uint8Array(bytes).fill(2)];
  const host = await rateOf(async () => to.set(from));
  const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  using source = gpu.buffer("bench source", bytes, usage);
  using target = gpu.buffer("bench target", bytes, usage);
  const copy = async (): Promise<void> => {
    const encoder = gpu.device.createCommandEncoder();
    encoder.copyBufferToBuffer(source.buffer, 0, target.buffer, 0, bytes);
    gpu.device.queue.submit([encoder.finish()]);
    await gpu.idle();
  };
  await copy();
  return { host, device: await rateOf(copy) };
}

/** Nothing is timed that arrives otherwise than it lay. */
async function check(gpu: Gpu, to: Delivery, what: string): Promise<void> {
  const piece = 16 << 20;
  const want = new Uint8Array(piece);
  let start = 0;
  for (const { buffer, bytes } of to.parts()) {
    for (let at = 0; at < bytes; at += piece) {
      const length = Math.min(piece, bytes - at);
      fillPattern(want.subarray(0, length), start + at);
      const [got, wanted] = [new Uint32Array(await gpu.read(buffer, at, length)), new Uint32Array(want.buffer, 0, length / 4)];
      const wrong = got.findIndex((word, i) => word !== wanted[i]);
      if (wrong >= 0) throw new Error(`${what}: byte ${start + at + 4 * wrong} arrived otherwise than it was read`);
    }
    start += bytes;
  }
}

/** The same bytes as matrices of f16, through the engine's loader into the layout of its matmul; buffers are made anew each time. */
function engineLoad(gpu: Gpu, read: Read, bytes: number, dtype: DType): () => Promise<void> {
  const matrix = Math.min(bytes, 64 << 20);
  const shape = [matrix / 2 / WIDTH, WIDTH];
  const requests = Array.from({ length: Math.floor(bytes / matrix) }, (_, i) => ({
    key: `w${i}`,
    names: [`w${i}`],
    shape,
    packing: "panel" as const,
    dtype,
    bytes: packedBytes(shape, "panel", dtype),
  }));
  const provider = {
    type: () => dtype,
    stored: (name: string) => ({
      label: name,
      shape,
      format: "f16" as const,
      read: (start: number, into: Uint8Array<ArrayBuffer>) => read(Number(name.slice(1)) * matrix + start, into),
    }),
  };
  return async () => {
    using store = new WeightStore(gpu, provider);
    await store.load(requests);
    await gpu.idle();
  };
}
