/** Stored weights become packed ones on the device, to the bit what the host makes of them. */
import { expect, test } from "vitest";
import { f16ToNumber, roundToF16 } from "../../src/base/half.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { elements } from "../../src/graph/dtype.ts";
import { packedBytes, padTo, type NumberPacking } from "../../src/graph/packing.ts";
import type { Format } from "../../src/graph/stored.ts";
import { rowBytes } from "../../src/graph/stored.ts";
import { isCopy, Unpacker, type LowRank, type UnpackPart } from "../../src/run/unpacker.ts";
import { drawn } from "../../src/check/sweep/draw.ts";
import { fitsF16, float16Loss, mergeReports } from "../../src/files/float16-loss.ts";
import { LossCounters, type LossCount } from "../../src/run/loss-counters.ts";
import { packed } from "../support/packed.ts";
import { limitedGpu, testGpu } from "../support/gpu.ts";

/** Values that are rounded, halves to even, subnormal, too large, and none at all; then ordinary ones. */
const SPECIAL = [
  0x00000000, 0x80000000, 0x7f800000, 0xff800000, 0x7fc01234, 0xffe00001, 0x477fefff, 0x477ff000, 0x477fffff, 0xc7800000, 0x387fe000,
  0x387fffff, 0x38800fff, 0x38801000, 0x38803000, 0x33000000, 0x33000001, 0x33ffffff, 0x33c00000, 0x00000001, 0x807fffff, 0x7f7fffff,
];

/** f32 bits of a weight, and what its format stores of them. */
function stored(format: Format, count: number, seed: number): { raw: Uint8Array; bits: Uint32Array } {
  const words = new Uint32Array(drawn(count, seed, 3).buffer);
  for (let i = 0; i < count; i += 5) words[i] = SPECIAL[(i / 5 + seed) % SPECIAL.length]!;
  if (format === "f32") return { raw: new Uint8Array(words.buffer), bits: words };
  const halves = Uint16Array.from(words, (word) => (format === "f16" ? roundToF16(word) : word >>> 16));
  const f32 = (half: number): number => {
    // Widened by its bits, for a NaN's are kept.
    if (format === "bf16") return (half << 16) >>> 0;
    const [magnitude, sign] = [half & 0x7fff, (half & 0x8000) << 16];
    if (magnitude > 0x7c00) return (sign | 0x7f800000 | ((magnitude & 0x3ff) << 13)) >>> 0;
    return new Uint32Array(Float32Array.of(f16ToNumber(half)).buffer)[0]!;
  };
  return { raw: new Uint8Array(halves.buffer), bits: Uint32Array.from(halves, f32) };
}

/** As the layouts are defined, up to a multiple of 16 bytes. */
function packedBits(bits: Uint32Array, shape: readonly number[], packing: NumberPacking, dtype: "f32" | "f16"): Uint8Array {
  const out = new Uint8Array(padTo(packedBytes(shape, packing, dtype), 16));
  // Words, for an engine may quiet a NaN that it copies as a number.
  const whole = packed(dtype === "f16" ? Uint16Array.from(bits, roundToF16) : bits, shape, packing);
  out.set(new Uint8Array(whole.buffer, whole.byteOffset, whole.byteLength));
  return out;
}

interface Sizes {
  readonly shape: readonly number[];
  readonly packing: NumberPacking;
  /** Rows at which one part ends and the next begins. */
  readonly cuts?: readonly number[];
}

async function expectUnpacked(gpu: Gpu, format: Format, dtype: "f32" | "f16", { shape, packing, cuts = [] }: Sizes): Promise<void> {
  const { raw, bits } = stored(format, elements(shape), shape.length + cuts.length);
  const want = packedBits(bits, shape, packing, dtype);
  // Neither at a binding's alignment; vectors begin at multiples of 16.
  const [lead, at] = [shape[1]! % 8 ? 20 : 48, 272];
  using from = gpu.buffer("raw", padTo(lead + raw.length, 16), GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC);
  using to = gpu.buffer("packed", at + want.length + 16, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC);
  const { queue } = gpu.device;
  queue.writeBuffer(to.buffer, 0, new Uint8Array(to.bytes).fill(0xa5));
  using unpacker = new Unpacker(gpu);
  const whole = shape[0]!;
  const unit = shape.length > 1 ? rowBytes({ shape, format }) : rowBytes({ shape, format }) / whole;
  const edges = [0, ...cuts, whole];
  const parts = edges.slice(1).map((end, i) => ({ firstRow: edges[i]!, rows: end - edges[i]! }));
  // In any order: the last part first. Each part's bytes begin where a word does.
  for (const { firstRow, rows } of parts.reverse()) {
    const bytes = raw.subarray(firstRow * unit, (firstRow + rows) * unit);
    const padding = new Uint8Array(padTo(bytes.length, 4)).fill(0x5a);
    padding.set(bytes);
    queue.writeBuffer(from.buffer, lead, padding);
    const encoder = gpu.device.createCommandEncoder();
    const part: UnpackPart = {
      from: { buffer: from.buffer, offset: lead },
      format,
      shape,
      firstRow,
      rows,
      packing,
      dtype,
      to: to.buffer,
      at,
    };
    await unpacker.unpack(encoder, part);
    queue.submit([encoder.finish()]);
    unpacker.settle();
  }
  const got = new Uint8Array(await gpu.read(to.buffer));
  const expected = new Uint8Array(to.bytes).fill(0xa5);
  expected.set(want, at);
  const size = dtype === "f16" ? 2 : 4;
  const differs = got.findIndex((byte, i) => byte !== expected[i]);
  if (differs >= 0)
    expect.fail(
      `${format} to ${dtype} ${packing} [${shape.join(", ")}] cut at ${cuts.join(", ") || "nothing"}: value ${(differs - at) / size} of ` +
        `${want.length / size}: got ${Buffer.from(got.subarray(differs & ~3, (differs & ~3) + 4)).toString("hex")}, ` +
        `expected ${Buffer.from(expected.subarray(differs & ~3, (differs & ~3) + 4)).toString("hex")}`,
    );
}

const SIZES: readonly Sizes[] = [
  { shape: [1, 1], packing: "panel" },
  { shape: [16, 8], packing: "panel" },
  { shape: [35, 7], packing: "panel", cuts: [1, 6, 21] },
  { shape: [70, 20], packing: "panel", cuts: [16, 33] },
  { shape: [70, 24], packing: "panel", cuts: [3, 33] },
  { shape: [19, 5, 3, 2, 3], packing: "panel", cuts: [7] },
  { shape: [1, 1], packing: "row" },
  { shape: [35, 7], packing: "row", cuts: [1, 6, 21] },
  { shape: [48, 24], packing: "row", cuts: [16] },
  { shape: [19, 5, 3, 2, 3], packing: "row", cuts: [7] },
  { shape: [5], packing: "vector" },
  { shape: [67], packing: "vector", cuts: [2, 35] },
  { shape: [3, 7], packing: "vector", cuts: [1] },
  { shape: [3, 7], packing: "natural", cuts: [1, 2] },
  { shape: [9, 16], packing: "natural", cuts: [3] },
  { shape: [9, 48], packing: "vector", cuts: [3] },
];

test.each(["f32", "f16", "bf16"] as const)("%s becomes every packing in f32 and f16, in parts that meet at any row", async (format) => {
  const gpu = await testGpu();
  for (const dtype of ["f32", "f16"] as const)
    for (const sizes of SIZES) await gpu.scoped("unpacking", () => expectUnpacked(gpu, format, dtype, sizes));
});

test("larger than a binding: in windows, with parameters in a uniform", async () => {
  await using gpu = await limitedGpu({ maxBindingBytes: 4096, maxGrid: 2, immediates: false });
  for (const format of ["f32", "f16", "bf16"] as const)
    for (const dtype of ["f32", "f16"] as const)
      for (const sizes of [
        { shape: [150, 22], packing: "panel", cuts: [5, 83] },
        { shape: [150, 24], packing: "panel", cuts: [5, 83] },
        { shape: [150, 22], packing: "row", cuts: [5, 83] },
        { shape: [150, 22], packing: "vector", cuts: [5, 83] },
        { shape: [300, 32], packing: "natural", cuts: [5, 83] },
        { shape: [3001], packing: "vector", cuts: [1501] },
        { shape: [7, 300], packing: "natural", cuts: [3] },
      ] as const)
        await gpu.scoped("unpacking", () => expectUnpacked(gpu, format, dtype, sizes));
});

test("blocks of 8 bits become panels of them as they are, in parts that meet at any row, in windows too", async () => {
  const shape = [70, 96];
  const [rows, blocks] = [70, 3];
  const raw = Uint8Array.from({ length: rows * blocks * 34 }, (_, i) => (Math.imul(i + 1, 0x9e3779b1) >>> 13) & 0xff);
  const scale = drawn(rows, 5, 2);
  const want = new DataView(new ArrayBuffer(packedBytes(shape, "q8", "f16")));
  for (let row = 0; row < rows; row++)
    for (let block = 0; block < blocks; block++) {
      const at = (row * blocks + block) * 34;
      // Of every third a subnormal scale; never an infinite one.
      raw[at + 1]! &= block === 2 ? 0x83 : 0xbb;
      const to = (Math.floor(row / 16) * blocks + block) * 576 + 4 * (row % 16);
      for (let i = 0; i < 32; i++) want.setUint8(to + 64 * (i >> 2) + (i & 3), raw[at + 2 + i]!);
      want.setFloat32(to + 512, f16ToNumber(raw[at]! + 256 * raw[at + 1]!), true);
    }
  const scaled = new DataView(want.buffer.slice(0));
  for (let row = 0; row < rows; row++)
    for (let block = 0; block < blocks; block++) {
      const to = (Math.floor(row / 16) * blocks + block) * 576 + 4 * (row % 16) + 512;
      scaled.setFloat32(to, scaled.getFloat32(to, true) * scale[row]!, true);
    }
  await using small = await limitedGpu({ maxBindingBytes: 4096, maxGrid: 2, immediates: false });
  for (const gpu of [await testGpu(), small])
    for (const cuts of [[], [5, 37], [16, 32], [69]]) {
      const part = { format: "q8_0", shape, packing: "q8", dtype: "f16" } as const;
      expect(Buffer.from(await unpacked(gpu, raw, part, cuts)).equals(Buffer.from(want.buffer)), cuts.join()).toBe(true);
      expect(Buffer.from(await unpacked(gpu, raw, { ...part, scale }, cuts)).equals(Buffer.from(scaled.buffer)), cuts.join()).toBe(true);
    }
  await expect(unpacked(small, raw.subarray(0, 70 * 54), { format: "q4_0", shape, packing: "q8", dtype: "f16" })).rejects.toThrow(
    "[weights] a weight in 8-bit panels must be a matrix of q8_0, got q4_0 [70, 96]; unpack it to numbers",
  );
});

/** Unpacks bytes in one part, or in one for each list of rows, and reads the packed weight back. */
async function unpacked(
  gpu: Gpu,
  raw: Uint8Array,
  part: Omit<UnpackPart, "from" | "to" | "at" | "firstRow" | "rows">,
  cuts: readonly number[] = [],
): Promise<ArrayBuffer> {
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
  const bytes = packedBytes(part.shape, part.packing, part.dtype);
  const [whole = 1] = part.shape;
  const row = raw.length / whole;
  using to = gpu.buffer("packed", bytes, usage);
  using unpacker = new Unpacker(gpu);
  const edges = [0, ...cuts, whole];
  for (const [i, end] of edges.slice(1).entries()) {
    const rows = raw.subarray(edges[i]! * row, end * row);
    const data = new Uint8Array(padTo(rows.length, 4));
    data.set(rows);
    using from = gpu.buffer("raw", data.length, usage, data);
    const encoder = gpu.device.createCommandEncoder();
    await gpu.scoped("unpacking", () =>
      unpacker.unpack(encoder, {
        ...part,
        from: { buffer: from.buffer },
        firstRow: edges[i]!,
        storedRow: edges[i]!,
        rows: end - edges[i]!,
        to: to.buffer,
        at: 0,
      }),
    );
    gpu.device.queue.submit([encoder.finish()]);
    unpacker.settle();
  }
  return gpu.read(to.buffer, 0, bytes);
}

const bf16 = (values: Float32Array): Uint8Array => new Uint8Array(Uint16Array.from(new Uint32Array(values.buffer), (w) => w >>> 16).buffer);
const f32 = (values: Float32Array): Uint8Array => new Uint8Array(values.buffer);
const verdict = ({ overflow, squaredError, squaredNorm, ...count }: LossCount, values: number): boolean =>
  fitsF16(mergeReports([{ ...count, overflow, squaredError, squaredNorm, relativeError: 0, count: values }]));

test("what f16 loses is counted as on the host, with the same verdict", async () => {
  const gpu = await testGpu();
  const shape = [67, 96];
  const count = 67 * 96;
  const few = (every: number, value: number) => drawn(count, 5, 0.05).map((v, i) => (i % every === 7 ? value : v));
  // Of subnormal size on both sides of the limit: one rounding in 2^11.
  const cases: [string, "F32" | "BF16", Float32Array][] = [
    ["ordinary values", "F32", drawn(count, 1, 0.05)],
    ["ordinary values in bf16", "BF16", drawn(count, 1, 0.05)],
    ["a few that are too small", "BF16", few(60, 1e-9)],
    ["too large", "BF16", few(1000, 7e4)],
    ["just not too large", "F32", few(1000, 65519)],
    ["infinite and none", "F32", few(1000, Infinity).map((v, i) => (i % 999 === 3 ? NaN : v))],
    ["all too small", "F32", drawn(count, 3, 1e-9)],
    ["all very small", "BF16", drawn(count, 3, 1e-33)],
    ["subnormal", "F32", drawn(count, 4, 2e-5)],
    ["subnormal, but less", "F32", drawn(count, 4, 6e-5)],
    ["subnormal, more", "F32", drawn(count, 4, 2e-6)],
    ["zeros", "F32", new Float32Array(count)],
  ];
  const verdicts = new Set<boolean>();
  for (const dtype of ["f32", "f16"] as const)
    for (const packing of ["panel", "row", "vector"] as const) {
      using counters = new LossCounters(gpu, cases.length);
      for (const [i, [, from, values]] of cases.entries()) {
        const [raw, format] = from === "F32" ? [f32(values), "f32" as const] : [bf16(values), "bf16" as const];
        await unpacked(gpu, raw, { format, shape, packing, dtype, loss: counters.place(i) }, [13, 31]);
      }
      for (const [i, got] of (await counters.read()).entries()) {
        const [name, from, values] = cases[i]!;
        const want = float16Loss(from === "F32" ? f32(values) : bf16(values), from);
        expect({ ...got, squaredError: 0, squaredNorm: 0 }, name).toEqual({
          overflow: want.overflow,
          underflow: want.underflow,
          nonFinite: want.nonFinite,
          squaredError: 0,
          squaredNorm: 0,
        });
        const ratio = got.squaredNorm ? Math.sqrt(got.squaredError / got.squaredNorm) : 0;
        const wanted = want.squaredNorm ? Math.sqrt(want.squaredError / want.squaredNorm) : 0;
        expect(Math.abs(ratio - wanted), `${name}: ${ratio} for ${wanted}`).toBeLessThanOrEqual(2e-5 * wanted);
        expect(verdict(got, count), name).toBe(fitsF16(want));
        verdicts.add(fitsF16(want));
      }
    }
  expect(verdicts).toEqual(new Set([true, false]));
});

test("changes are added in f32 before a value is rounded, in every packing and at any row", async () => {
  const gpu = await testGpu();
  const shapes: [readonly number[], NumberPacking][] = [
    [[67, 90], "panel"],
    [[67, 90], "row"],
    [[67, 90], "natural"],
    [[64, 96], "natural"],
    [[21, 7, 3, 2, 2], "panel"],
    [[21, 7, 3, 2, 2], "row"],
  ];
  for (const [shape, packing] of shapes) {
    const [out, width] = [shape[0]!, elements(shape.slice(1))];
    const values = drawn(out * width, 11, 0.1);
    const changes: LowRank[] = [3, 5].map((rank, i) => ({
      up: drawn(out * rank, 20 + i),
      down: drawn(rank * width, 30 + i),
      rank,
      factor: 0.25 + i,
    }));
    const want = Float64Array.from(values);
    for (const { up, down, rank, factor } of changes)
      for (let o = 0; o < out; o++)
        for (let r = 0; r < rank; r++)
          for (let i = 0; i < width; i++) want[o * width + i]! += factor * up[o * rank + r]! * down[r * width + i]!;
    const wide = packedBits(new Uint32Array(Float32Array.from(want).buffer), shape, packing, "f32");
    const expected = new Float32Array(wide.buffer);
    for (const dtype of ["f32", "f16"] as const) {
      const data = await unpacked(gpu, f32(values), { format: "f32", shape, packing, dtype, changes }, [5, 18]);
      const got = dtype === "f32" ? new Float32Array(data) : Float32Array.from(new Uint16Array(data), f16ToNumber);
      // Half a step of f16 at most: rounded once.
      const worst = got.reduce((most, value, i) => {
        const limit = 2e-6 + (dtype === "f16" ? 2 ** -11 * Math.abs(expected[i]!) : 0);
        return Math.max(most, Math.abs(value - expected[i]!) / limit);
      }, 0);
      expect(worst, `${packing} [${shape.join(", ")}] ${dtype}`).toBeLessThan(1);
    }
  }
});

test("scales of rows begin with the part's row; what is only moved is a copy", async () => {
  const gpu = await testGpu();
  const shape = [35, 12];
  const scale = drawn(35, 3).map(Math.abs);
  const codes = Uint8Array.from({ length: 35 * 12 }, (_, i) => (i * 37) & 0x77);
  const one = (code: number): number => (code >> 3 ? (1 + (code & 7) / 8) * 2 ** ((code >> 3) - 7) : (code & 7) * 2 ** -9);
  const want = Float32Array.from(codes, (code, i) => one(code) * scale[Math.floor(i / 12)]!);
  const part = { format: "e4m3", shape, packing: "natural", dtype: "f32" } as const;
  expect(new Float32Array(await unpacked(gpu, codes, { ...part, scale }, [3, 20]))).toEqual(want);
  const buffer = {} as GPUBuffer;
  const moved: UnpackPart = { ...part, format: "f32", firstRow: 1, rows: 3, from: { buffer }, to: buffer, at: 0 };
  expect(isCopy(moved)).toBe(true);
  expect(isCopy({ ...moved, shape: [35, 16], packing: "row" })).toBe(true);
  expect(isCopy({ ...moved, packing: "row" })).toBe(false);
  for (const other of [{ dtype: "f16" }, { packing: "panel" }, { scale }, { format: "f16" }, { loss: { buffer } }] as const)
    expect(isCopy({ ...moved, ...other })).toBe(false);
});

test("one list of changes goes into two packings of a convolution before anything is submitted", async () => {
  const gpu = await testGpu();
  const shape = [5, 3, 2, 2, 1];
  const changes: LowRank[] = [{ up: drawn(5, 1), down: drawn(12, 2), rank: 1, factor: 1 }];
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC;
  using from = gpu.buffer("raw", 240, usage, drawn(60, 3));
  using unpacker = new Unpacker(gpu);
  const whole = { from: { buffer: from.buffer }, format: "f32", shape, firstRow: 0, rows: 5, dtype: "f32", at: 0 } as const;
  const packings = ["row", "natural", "row"] as const;
  const alone: Uint8Array[] = [];
  for (const packing of packings) alone.push(new Uint8Array(await unpacked(gpu, f32(drawn(60, 3)), { ...whole, packing, changes })));
  const encoder = gpu.device.createCommandEncoder();
  const made = packings.map((packing) => ({ packing, to: gpu.buffer("packed", packedBytes(shape, packing, "f32"), usage) }));
  for (const { packing, to } of made) await unpacker.unpack(encoder, { ...whole, packing, changes, to: to.buffer });
  gpu.device.queue.submit([encoder.finish()]);
  unpacker.settle();
  for (const [i, { to }] of made.entries()) {
    using buffer = to;
    expect(new Uint8Array(await gpu.read(buffer.buffer, 0, alone[i]!.length))).toEqual(alone[i]);
  }
});

test("rows that cannot be are refused", async () => {
  const gpu = await testGpu();
  using unpacker = new Unpacker(gpu);
  using buffer = gpu.buffer("any", 4096, GPUBufferUsage.STORAGE);
  const part: UnpackPart = {
    from: { buffer: buffer.buffer },
    format: "q8_0",
    shape: [4, 64],
    firstRow: 0,
    rows: 4,
    packing: "panel",
    dtype: "f32",
    to: buffer.buffer,
    at: 0,
  };
  await expect(unpacker.prepare({ ...part, shape: [4, 60] })).rejects.toThrow(
    "[weights] rows of q8_0 must be whole blocks of 32, got rows of 60; store it in a type without blocks",
  );
  await expect(unpacker.prepare({ ...part, firstRow: 2 })).rejects.toThrow(
    "[weights] rows must lie in a weight [4, 64], got 4 from row 2; correct the part",
  );
  await expect(unpacker.prepare({ ...part, at: 8 })).rejects.toThrow("[weights] a weight must begin at a multiple of 16 bytes");
});
