/** Stored weights become packed ones on the device, to the bit what the host makes of them. */
import { expect, test } from "vitest";
import { f16ToNumber, roundToF16 } from "../../src/base/half.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { elements } from "../../src/graph/dtype.ts";
import { packedBytes, Packer, padTo, type Packing } from "../../src/graph/packing.ts";
import type { Format } from "../../src/graph/stored.ts";
import { rowBytes } from "../../src/graph/stored.ts";
import { Unpacker, type UnpackPart } from "../../src/run/unpacker.ts";
import { drawn } from "../../src/check/sweep/draw.ts";
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

/** As the host packs it, up to a multiple of 16 bytes. */
function packed(bits: Uint32Array, shape: readonly number[], packing: Packing, dtype: "f32" | "f16"): Uint8Array {
  const packer = new Packer(shape, packing, dtype);
  const out = new Uint8Array(padTo(packedBytes(shape, packing, dtype), 16));
  let at = 0;
  const put = (blocks: Iterable<Float32Array | Uint16Array>): void => {
    for (const block of blocks) {
      out.set(new Uint8Array(block.buffer, block.byteOffset, block.byteLength), at);
      at += block.byteLength;
    }
  };
  put(packer.push(dtype === "f16" ? Uint16Array.from(bits, roundToF16) : new Float32Array(bits.buffer)));
  put(packer.finish());
  return out;
}

interface Sizes {
  readonly shape: readonly number[];
  readonly packing: Packing;
  /** Rows at which one part ends and the next begins. */
  readonly cuts?: readonly number[];
}

async function expectUnpacked(gpu: Gpu, format: Format, dtype: "f32" | "f16", { shape, packing, cuts = [] }: Sizes): Promise<void> {
  const { raw, bits } = stored(format, elements(shape), shape.length + cuts.length);
  const want = packed(bits, shape, packing, dtype);
  const [lead, at] = [20, 272]; // neither at a binding's alignment
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
        { shape: [150, 22], packing: "row", cuts: [5, 83] },
        { shape: [150, 22], packing: "vector", cuts: [5, 83] },
        { shape: [300, 32], packing: "natural", cuts: [5, 83] },
        { shape: [3001], packing: "vector", cuts: [1501] },
        { shape: [7, 300], packing: "natural", cuts: [3] },
      ] as const)
        await gpu.scoped("unpacking", () => expectUnpacked(gpu, format, dtype, sizes));
});
