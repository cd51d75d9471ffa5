/** What unpacking costs on the device, format by format, beside a copy of as many bytes as come out: what loading and streaming add to it. */
import type { Gpu } from "../../src/gpu/gpu.ts";
import type { DType } from "../../src/graph/dtype.ts";
import { packedBytes, padTo } from "../../src/graph/packing.ts";
import { FORMATS, storedBytes, type Format } from "../../src/graph/stored.ts";
import { Unpacker, type PreparedUnpack } from "../../src/run/unpacker.ts";
import { sweep } from "../../src/check/sweep/sweep.ts";
import { summarise, type Summary } from "../measure/statistics.ts";

export interface UnpackRow {
  readonly format: Format;
  readonly dtype: DType;
  /** Bytes of the matrix as it is stored, and as kernels read it. */
  readonly stored: number;
  readonly packed: number;
  /** 1e9 packed bytes a second. */
  readonly rate: Summary;
  /** Median time over that of the copy in the same round. */
  readonly ofCopy: Summary;
}

export interface Unpacking {
  readonly adapter: string;
  readonly shape: readonly number[];
  readonly rows: readonly UnpackRow[];
}

/** Half of T5-XXL's feed-forward. */
const SHAPE = [5120, 4096];

/** Into panels, as the matmul reads them; copy and unpacking are taken in turn. Wrong kernels are not timed. */
export async function measureUnpacking(gpu: Gpu, runs: number, shape: readonly number[] = SHAPE): Promise<Unpacking> {
  const { problems, cases } = await sweep(gpu, null, { filter: "unpack", sizes: ["tiny"] });
  if (problems.length || cases === 0) throw new Error(`unpacking must be right to be timed, got ${problems[0] ?? "no case of it"}`);
  const rows: UnpackRow[] = [];
  const unpacker = new Unpacker(gpu);
  try {
    for (const dtype of gpu.caps.f16 ? (["f16", "f32"] as const) : (["f32"] as const))
      for (const format of Object.keys(FORMATS) as Format[]) rows.push(await measureFormat(gpu, unpacker, format, dtype, shape, runs));
  } finally {
    unpacker[Symbol.dispose]();
  }
  return { adapter: gpu.name, shape, rows };
}

async function measureFormat(
  gpu: Gpu,
  unpacker: Unpacker,
  format: Format,
  dtype: "f32" | "f16",
  shape: readonly number[],
  runs: number,
): Promise<UnpackRow> {
  const stored = storedBytes({ shape, format });
  const packed = padTo(packedBytes(shape, "panel", dtype), 16);
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  using from = gpu.buffer("bench stored", padTo(stored, 4), usage, plainBytes(padTo(stored, 4)));
  using to = gpu.buffer("bench packed", packed, usage);
  using other = gpu.buffer("bench copy", packed, usage);
  using part: PreparedUnpack = await unpacker.prepare({
    from: { buffer: from.buffer },
    format,
    shape,
    firstRow: 0,
    rows: shape[0]!,
    packing: "panel",
    dtype,
    to: to.buffer,
    at: 0,
  });
  const timed = async (record: (encoder: GPUCommandEncoder) => void): Promise<number> => {
    const begun = performance.now();
    const encoder = gpu.device.createCommandEncoder();
    record(encoder);
    gpu.device.queue.submit([encoder.finish()]);
    await gpu.idle();
    return performance.now() - begun;
  };
  const unpack = () => timed((encoder) => part.encode(encoder));
  const copy = () => timed((encoder) => encoder.copyBufferToBuffer(to.buffer, 0, other.buffer, 0, packed));
  await unpack();
  await copy();
  const [rates, ratios]: number[][] = [[], []];
  for (let i = 0; i < runs; i++) {
    const [ms, copyMs] = [await unpack(), await copy()];
    rates!.push(packed / 1e6 / ms);
    ratios!.push(ms / copyMs);
  }
  return { format, dtype, stored, packed, rate: summarise(rates!), ofCopy: summarise(ratios!) };
}

/** Bytes whose scales are small f16 and whose values are all there is: neither zeros nor NaN, which some CPUs are slow with. */
const plainBytes = (bytes: number): Uint8Array => Uint8Array.from({ length: bytes }, (_, i) => (i % 2 ? 0x2c : (i * 37) & 0xff));
