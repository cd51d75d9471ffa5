/** What loading costs: a wide matrix from memory, packed and uploaded, beside a plain copy of as many bytes in the same run. */
import type { Gpu } from "../../src/gpu/gpu.ts";
import type { DType } from "../../src/graph/dtype.ts";
import type { StoredWeight } from "../../src/graph/stored.ts";
import { packedBytes } from "../../src/graph/packing.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { median } from "./statistics.ts";

export interface Loading {
  /** Bytes of the weight, in f16 panels. */
  readonly bytes: number;
  /** Medians; a copy is from one array to another on the host, touched before. */
  readonly ms: number;
  readonly copyMs: number;
  /** Bytes on the adapter besides the weight's own, at most. */
  readonly besides: number;
}

/** Of T5-XXL's feed-forward: [10240, 4096]. */
const SHAPE = [10240, 4096];
/** As a file is read: 8 MiB at a time. */
const PART = 1 << 22;

export async function measureLoading(gpu: Gpu, runs = 5, shape: readonly number[] = SHAPE): Promise<Loading> {
  const count = shape.reduce((a, b) => a * b, 1);
  const part = Uint16Array.from({ length: Math.min(PART, count) }, (_, i) => i);
  const bytesOfPart = new Uint8Array(part.buffer);
  const provider = {
    type: (): DType => "f16",
    stored: (label: string): StoredWeight => ({
      label,
      shape,
      format: "f16",
      // Whole rows of it, of which the part holds more.
      read: async (_start, into) => into.set(bytesOfPart.subarray(0, into.length)),
    }),
  };
  const bytes = packedBytes(shape, "panel", "f16");
  const request = { key: "w", names: ["w"], shape, packing: "panel" as const, dtype: "f16" as const, bytes };
  const target = new Uint16Array(count).fill(1);
  const [ms, copyMs]: number[][] = [[], []];
  const before = gpu.memory.allocated;
  let most = 0;
  for (let i = 0; i < runs; i++) {
    using store = new WeightStore(gpu, provider);
    let begun = performance.now();
    await store.load([request], { onProgress: () => (most = Math.max(most, gpu.memory.allocated)) });
    await gpu.idle();
    ms!.push(performance.now() - begun);
    begun = performance.now();
    for (let at = 0; at < count; at += part.length) target.set(part.subarray(0, Math.min(part.length, count - at)), at);
    copyMs!.push(performance.now() - begun);
  }
  return { bytes, ms: median(ms!), copyMs: median(copyMs!), besides: most - before - bytes };
}
