/** GGUF: what PyPI's gguf wrote is read, what is written here reads the same, and damage is refused before anything is made of it. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { toFloat32 } from "../../src/files/convert.ts";
import { openGguf } from "../../src/files/gguf.ts";
import { GGML_TYPES, READABLE_TYPES } from "../../src/files/gguf-types.ts";
import { writeGguf } from "../../src/files/gguf-write.ts";
import { openSafetensors } from "../../src/files/safetensors.ts";
import { FORMATS, type Format } from "../../src/graph/stored.ts";
import { memorySource } from "../../src/sources/memory.ts";
import { dequantized } from "../support/dequantize.ts";

const FIXTURES = join(import.meta.dirname, "fixtures");
const fixture = async (name: string) => new Uint8Array(await readFile(join(FIXTURES, name)));
const open = (bytes: Uint8Array) => openGguf(memorySource({ "x.gguf": bytes }), "x.gguf");

test("a file of PyPI's gguf is read: metadata, places, and the values that it reads itself", async () => {
  const bytes = await fixture("formats.gguf");
  const { metadata, tensors } = await open(bytes);
  expect(Object.fromEntries(metadata)).toEqual({
    "general.architecture": "cogvideox",
    "test.text": "a, ✓ and 漢",
    "test.double": 0.1,
    "test.yes": true,
    "test.small": -5,
    "test.large": 2 ** 40,
  });
  const values = await openSafetensors(memorySource({ v: await fixture("values.safetensors") }), "v");
  const mine = [...values.tensors.keys()].filter((name) => name.startsWith("formats.gguf:"));
  expect(mine.map((name) => name.slice("formats.gguf:".length)).sort()).toEqual([...tensors.keys()].sort());
  for (const [name, { type, shape, start, end }] of tensors) {
    const want = await values.read(`formats.gguf:${name}`);
    expect(shape, name).toEqual(want.shape);
    expect(dequantized(bytes.subarray(start, end), { format: type.toLowerCase() as Format, shape }), name).toEqual(
      toFloat32(want.bytes, "F32"),
    );
  }
});

test("types have the blocks that unpacking takes", () => {
  const formats = Object.entries(FORMATS).filter(([name]) => name !== "e4m3");
  expect([...READABLE_TYPES].map(([name, { values, bytes }]) => [name.toLowerCase(), { values, bytes }]).sort()).toEqual(formats.sort());
});

const metadata = new Map<string, string | number | boolean>([
  ["general.architecture", "cogvideox"],
  ["a.number", 7],
  ["a.share", 0.5],
  ["a.switch", false],
]);
const tensors = [
  { name: "q.weight", type: "Q8_0", shape: [3, 32], data: Uint8Array.from({ length: 102 }, (_, i) => i) },
  { name: "f.weight", type: "F16", shape: [2, 3, 1, 2], data: new Uint16Array(12).fill(7) },
  { name: "empty", type: "F32", shape: [0], data: new Float32Array(0) },
  { name: "number", type: "F32", shape: [], data: Float32Array.of(3) },
];

test("what is written is read again", async () => {
  const bytes = writeGguf(metadata, tensors);
  const found = await open(bytes);
  expect(found.metadata).toEqual(metadata);
  expect([...found.tensors.keys()].sort()).toEqual(["empty", "f.weight", "number", "q.weight"]);
  for (const { name, type, shape, data } of tensors) {
    const { start, end, ...told } = found.tensors.get(name)!;
    expect(told).toEqual({ type, shape });
    expect(start % 32).toBe(0);
    expect(bytes.subarray(start, end)).toEqual(new Uint8Array(data.buffer));
  }
});

test("a header that is larger than what is read at first is read whole", async () => {
  const large = new Map(metadata).set("a.text", "x".repeat(3 << 20));
  expect((await open(writeGguf(large, tensors))).metadata).toEqual(large);
});

describe("damage is refused", () => {
  const whole = writeGguf(metadata, tensors);
  const changed = (edit: (view: DataView, bytes: Uint8Array) => void): Uint8Array => {
    const copy = whole.slice();
    edit(new DataView(copy.buffer), copy);
    return copy;
  };
  /** Where a text begins. */
  const at = (text: string): number => Buffer.from(whole).indexOf(text);
  const huge = 2n ** 63n;
  test.each<[string, Uint8Array, RegExp]>([
    [
      "no GGUF file",
      new TextEncoder().encode("version https://git-lfs.github.com/spec/v1\n"),
      /must be a GGUF file, got a git-lfs pointer/,
    ],
    ["a short one", whole.subarray(0, 12), /must begin with GGUF and a header, got 12 bytes/],
    ["version 1", changed((v) => v.setUint32(4, 1, true)), /must be 2 or 3, got 1/],
    ["big-endian", changed((v) => v.setUint32(4, 3, false)), /must be little-endian/],
    [
      "more tensors than fit",
      changed((v) => v.setBigUint64(8, 1n << 40n, true)),
      /number of tensors must fit in the file, got 1099511627776/,
    ],
    ["more keys than fit", changed((v) => v.setBigUint64(16, huge, true)), /number of metadata keys must be below 2\^53/],
    ["a long key", changed((v) => v.setBigUint64(24, 1n << 32n, true)), /a metadata key may have at most 65535 bytes/],
    ["a long value", changed((v) => v.setBigUint64(at("cogvideox") - 8, 1000n, true)), /must lie inside the file, got 1000 bytes/],
    ["no text", changed((_, b) => b.fill(255, at("cogvideox"), at("cogvideox") + 3)), /general\.architecture must be UTF-8/],
    ["a key twice", changed((_, b) => b.set(new TextEncoder().encode("a.number"), at("a.switch"))), /"a\.number" twice/],
    ["an unknown type of value", changed((v) => v.setUint32(at("a.number") + 8, 13, true)), /a\.number: the type of a value .* got 13/],
    ["half a boolean", changed((v) => v.setUint8(at("a.switch") + 12, 2)), /a\.switch: a boolean must be 0 or 1, got 2/],
    ["many dimensions", changed((v) => v.setUint32(at("q.weight") + 8, 9, true)), /q\.weight: a tensor may have 8 dimensions, got 9/],
    ["a row of half a block", changed((v) => v.setBigUint64(at("q.weight") + 12, 33n, true)), /q\.weight: a row must be whole Q8_0 blocks/],
    ["more rows", changed((v) => v.setBigUint64(at("q.weight") + 20, 4n, true)), /must lie end to end/],
    ["endless rows", changed((v) => v.setBigUint64(at("q.weight") + 20, 1n << 52n, true)), /q\.weight: a tensor must fit in its file/],
    ["Q3_K", changed((v) => v.setUint32(at("q.weight") + 28, 11, true)), /q\.weight: tensors must be of the types F32, .*, got Q3_K/],
    ["IQ4_XS", changed((v) => v.setUint32(at("q.weight") + 28, 23, true)), /got IQ4_XS/],
    ["an unknown type", changed((v) => v.setUint32(at("q.weight") + 28, 99, true)), /got the type number 99/],
    ["an offset elsewhere", changed((v) => v.setBigUint64(at("q.weight") + 32, 32n, true)), /must lie end to end/],
    ["cut", whole.subarray(0, whole.length - 32), /must end within the file's/],
    ["longer", new Uint8Array([...whole, ...new Uint8Array(32)]), /must end at the end of the file, got \d+ bytes after/],
  ])("%s", async (_, bytes, message) => {
    await expect(open(bytes)).rejects.toThrow(message);
  });

  test("an alignment that is none", async () => {
    for (const value of [0, 3, "32", 1 << 20])
      await expect(open(writeGguf(new Map(metadata).set("general.alignment", value), tensors))).rejects.toThrow(
        /must be a power of two up to/,
      );
  });

  test("every cut and every flipped bit of a header is refused, or reads what is there", async () => {
    const end = Math.max(...[...(await open(whole)).tensors.values()].map((tensor) => tensor.end)); // zeros follow it
    for (let length = 0; length < end; length++)
      await expect(open(whole.subarray(0, length)), `${length}`).rejects.toThrow(/^\[checkpoint\] x\.gguf: /);
    for (let bit = 0; bit < 8 * 400; bit++) {
      const copy = whole.slice();
      copy[bit >> 3]! ^= 1 << (bit & 7);
      const found = await open(copy).catch((error: Error) => error);
      if (found instanceof Error) expect(found.message).toMatch(/^\[checkpoint\] x\.gguf: /);
      else for (const { end } of found.tensors.values()) expect(end).toBeLessThanOrEqual(copy.length);
    }
  });
});

test("every type has a name of its own", () => {
  expect(new Set([...GGML_TYPES.values()].map(({ name }) => name)).size).toBe(GGML_TYPES.size);
});
