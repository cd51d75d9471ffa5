import { describe, expect, test } from "vitest";
import { openSafetensors, writeSafetensors } from "../../src/files/safetensors.ts";
import type { SafetensorsFile, TensorToWrite } from "../../src/files/safetensors.ts";
import { memorySource } from "../../src/sources/memory.ts";
import { CogwheelError } from "../../src/base/errors.ts";

const PATH = "transformer/diffusion_pytorch_model.safetensors";
const PLACE = `[checkpoint] ${PATH}: `;

const open = (bytes: Uint8Array): Promise<SafetensorsFile> => openSafetensors(memorySource({ [PATH]: bytes }), PATH);

/** A file with any header text, right or wrong, and so many bytes of data. */
function raw(header: string | Uint8Array, dataBytes = 0, declared?: bigint): Uint8Array {
  const text = typeof header === "string" ? new TextEncoder().encode(header) : header;
  const file = new Uint8Array(8 + text.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, declared ?? BigInt(text.length), true);
  file.set(text, 8);
  return file;
}

const entry = (dtype: unknown, shape: unknown, offsets: unknown): object => ({ dtype, shape, data_offsets: offsets });
const header = (tensors: object, dataBytes: number): Uint8Array => raw(JSON.stringify(tensors), dataBytes);

const TENSORS: Record<string, TensorToWrite> = {
  "b.weight": { dtype: "F32", shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) },
  "a.weight": { dtype: "F32", shape: [1], data: Float32Array.of(7) },
  scale: { dtype: "F64", shape: [], data: Float64Array.of(0.5) },
  odd: { dtype: "U8", shape: [3], data: Uint8Array.of(1, 2, 3) },
  half: { dtype: "F16", shape: [2, 2], data: Uint16Array.of(1, 2, 3, 4) },
  empty: { dtype: "I64", shape: [0, 4], data: new BigInt64Array(0) },
};

describe("a file that is right", () => {
  test("comes back as it was written", async () => {
    const file = await open(writeSafetensors(TENSORS, { format: "pt", note: 'a "quoted" note, ü' }));
    expect(file.metadata).toEqual({ format: "pt", note: 'a "quoted" note, ü' });
    expect([...file.tensors.keys()].sort()).toEqual(Object.keys(TENSORS).sort());
    for (const [name, { dtype, shape, data }] of Object.entries(TENSORS)) {
      const got = await file.read(name);
      expect(got.dtype).toBe(dtype);
      expect(got.shape).toEqual(shape);
      expect(got.bytes).toEqual(new Uint8Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength)));
      expect(got.bytes.byteOffset).toBe(0);
    }
  });

  test("gives rows by range, without reading the others", async () => {
    const bytes = writeSafetensors(TENSORS);
    const reads: [number, number][] = [];
    const source = memorySource({ [PATH]: bytes });
    const file = await openSafetensors(
      { ...source, read: (path, start, end) => (reads.push([start, end]), source.read(path, start, end)) },
      PATH,
    );
    reads.length = 0;
    const row = await file.read("b.weight", { rowStart: 1 });
    expect(row.shape).toEqual([1, 3]);
    expect(new Float32Array(row.bytes.buffer)).toEqual(Float32Array.of(4, 5, 6));
    const { start } = file.tensors.get("b.weight")!;
    expect(reads).toEqual([[start + 12, start + 24]]);
    expect((await file.read("b.weight", { rowStart: 1, rowEnd: 1 })).shape).toEqual([0, 3]);
    expect((await file.read("scale")).shape).toEqual([]);
    await expect(file.read("b.weight", { rowStart: 1, rowEnd: 3 })).rejects.toThrow(
      `${PLACE}b.weight: rows must lie within 0 to 2, got 1 to 3; the tensor's shape is [2, 3]`,
    );
    await expect(file.read("c")).rejects.toThrow(
      `${PLACE}a tensor must be in the file to be read, got the name "c"; the file holds 6 others`,
    );
  });

  test("is written the same whatever the order", () => {
    const reversed = Object.fromEntries(Object.entries(TENSORS).reverse());
    expect(writeSafetensors(new Map(Object.entries(reversed)), { b: "2", a: "1" })).toEqual(writeSafetensors(TENSORS, { a: "1", b: "2" }));
  });

  test("is aligned, and has the layout of the reference writer", () => {
    const file = writeSafetensors({ x: { dtype: "F32", shape: [1], data: Float32Array.of(1) } }, { k: "v" });
    const length = Number(new DataView(file.buffer).getBigUint64(0, true));
    expect(length % 8).toBe(0);
    expect(new TextDecoder().decode(file.subarray(8, 8 + length))).toMatch(
      /^\{"__metadata__":\{"k":"v"\},"x":\{"dtype":"F32","shape":\[1\],"data_offsets":\[0,4\]\}\} *$/,
    );
    expect(file.length).toBe(8 + length + 4);
  });

  test("may hold nothing, and names that are awkward in JavaScript", async () => {
    expect((await open(writeSafetensors({}))).tensors.size).toBe(0);
    const names = ["__proto__", "constructor", "10", "2", "a:b", 'q"\\', "{"];
    const tensors = new Map(
      names.map((name): [string, TensorToWrite] => [name, { dtype: "U8", shape: [1], data: Uint8Array.of(name.length) }]),
    );
    const file = await open(writeSafetensors(tensors));
    expect([...file.tensors.keys()].sort()).toEqual([...names].sort());
    for (const name of names) expect((await file.read(name)).bytes[0]).toBe(name.length);
  });

  test("every truncation is refused", async () => {
    const whole = writeSafetensors(TENSORS, { format: "pt" });
    for (let length = 0; length < whole.length; length++) {
      await expect(open(whole.slice(0, length))).rejects.toThrow(
        /^\[checkpoint\] transformer\/diffusion_pytorch_model\.safetensors: .*, got .*; .*/,
      );
    }
  });

  test("what cannot be written is refused", () => {
    expect(() => writeSafetensors({ x: { dtype: "F32", shape: [2], data: Float32Array.of(1) } })).toThrow(
      "[checkpoint] writeSafetensors: x: F32 [2] takes 8 bytes, got 4; pass data of that size",
    );
    expect(() => writeSafetensors({ __metadata__: { dtype: "U8", shape: [0], data: new Uint8Array(0) } })).toThrow(
      "__metadata__ is the header's own name",
    );
  });
});

// Each was read by Python's safetensors 0.8.0.
describe("what the reference reads is read", () => {
  const w = '{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}';
  test.each<[string, Uint8Array, string[]]>([
    ["null for no metadata", header({ __metadata__: null, w: entry("U8", [1], [0, 1]) }, 1), ["w"]],
    ["white space before the header", raw(` \n${w}`, 1), ["w"]],
    ["other white space behind it", raw(`${w}\n\t \r`, 1), ["w"]],
    ["fields beside the three", header({ w: { ...entry("U8", [1], [0, 1]), note: "x" } }, 1), ["w"]],
    ["a name of nothing", header({ "": entry("U8", [1], [0, 1]) }, 1), [""]],
    [
      "nothing between",
      header({ a: entry("U8", [2], [0, 2]), e: entry("F32", [0], [2, 2]), b: entry("U8", [1], [2, 3]) }, 3),
      ["a", "e", "b"],
    ],
    ["a tensor that is not aligned", header({ a: entry("U8", [1], [0, 1]), b: entry("F32", [1], [1, 5]) }, 5), ["a", "b"]],
    ["another order", header({ b: entry("U8", [1], [1, 2]), a: entry("U8", [1], [0, 1]) }, 2), ["a", "b"]],
    ["a truth value of 2", header({ b: entry("BOOL", [1], [0, 1]) }, 1), ["b"]],
  ])("%s", async (_, bytes, names) => {
    const file = await open(bytes);
    expect([...file.tensors.keys()]).toEqual(names);
    expect(file.metadata).toEqual({});
    for (const name of names) await file.read(name);
  });
});

describe("a file that is wrong is refused, with file, rule, value and remedy", () => {
  test.each<[string, Uint8Array, string]>([
    ["an empty file", new Uint8Array(0), "must be a safetensors file, got an empty file; download it again"],
    [
      "a header length beyond the file",
      raw("{}", 4, 7n),
      "the header must fit in the file, got a header length of 7 in 14 bytes; " +
        "the file is truncated or is not safetensors, download it again",
    ],
    ["a header length of 2^64 - 1", raw("{}", 0, 2n ** 64n - 1n), "got a header length of 18446744073709551615 in 10 bytes;"],
    [
      "a web page",
      new TextEncoder().encode("<!DOCTYPE html><html>Not found"),
      "must be a safetensors file, got a web page; it is a page about the file",
    ],
    [
      "a header that is no object",
      raw("[]"),
      'the header must start with "{", got "[]"; the file is damaged or is not safetensors, download it again',
    ],
    ["an empty header", raw(""), 'the header must start with "{", got "";'],
    ["a byte order mark", raw("\ufeff{}"), 'the header must start with "{", got'],
    ["broken UTF-8", raw(Uint8Array.of(0x7b, 0xff, 0x7d)), "the header must be UTF-8, got bytes that are not;"],
    ["broken JSON", raw('{"a":'), "the header must be JSON, got"],
    ["NaN in JSON", raw('{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}', 4), "the header must be JSON, got"],
    [
      "deep nesting",
      raw(`{"a":${"[".repeat(100_000)}`),
      "the header may nest 8 deep, got deeper; this file was made to break its reader, do not use it",
    ],
    [
      "a tensor twice",
      raw('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a" : {"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1),
      'a name may stand once in the header, got "a" twice; write the file again',
    ],
    [
      "a tensor twice in two spellings",
      raw('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\u0061":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1),
      'got "a" twice;',
    ],
    ["a field twice", raw('{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}', 1), 'got "dtype" twice;'],
    [
      "metadata that is no object",
      header({ __metadata__: "pt" }, 0),
      '__metadata__ must be an object of strings, got "pt"; write the file again',
    ],
    [
      "metadata that is no string",
      header({ __metadata__: { step: 3 } }, 0),
      '__metadata__ may hold strings only, got "step": 3; write it as a string',
    ],
    ["a tensor that is no object", header({ w: [1] }, 0), "w: a tensor must be described by an object, got [1];"],
    [
      "an unknown dtype",
      header({ w: entry("F8_E5M2", [1], [0, 1]) }, 1),
      'w: dtype must be one of F64, F32, F16, BF16, F8_E4M3, I64, I32, I16, I8, U8, U16, U32, BOOL, got "F8_E5M2"; ' +
        "convert the tensor to one of these",
    ],
    ["a dtype that is an object's own", header({ w: entry("constructor", [1], [0, 1]) }, 1), 'got "constructor";'],
    ["no dtype", header({ w: { shape: [1], data_offsets: [0, 1] } }, 1), "got nothing; convert"],
    ["a negative length", header({ w: entry("U8", [-1], [0, 1]) }, 1), "w: shape must be a list of whole numbers from 0, got [-1];"],
    ["a fraction", header({ w: entry("U8", [1.5], [0, 1]) }, 1), "w: shape must be a list of whole numbers from 0, got [1.5];"],
    ["a length that is text", header({ w: entry("U8", ["1"], [0, 1]) }, 1), 'w: shape must be a list of whole numbers from 0, got ["1"];'],
    [
      "a length beyond numbers",
      raw('{"w":{"dtype":"U8","shape":[1e999],"data_offsets":[0,1]}}', 1),
      'w: shape must be a list of whole numbers from 0, got ["Infinity"];',
    ],
    [
      "a length beyond whole numbers",
      raw('{"w":{"dtype":"U8","shape":[9007199254740993],"data_offsets":[0,1]}}', 1),
      "w: shape must be a list of whole numbers from 0, got [9007199254740992];",
    ],
    [
      "a product that overflows to the right size",
      header({ w: entry("U8", [2 ** 32, 2 ** 32], [0, 0]) }, 0),
      "w: U8 [4294967296, 4294967296] takes 18446744073709552000 bytes, got data_offsets [0, 0] of 0;",
    ],
    [
      "offsets that are three",
      header({ w: entry("U8", [1], [0, 1, 2]) }, 2),
      "w: data_offsets must be two whole numbers from 0, got [0,1,2];",
    ],
    ["a negative offset", header({ w: entry("U8", [2], [-1, 1]) }, 1), "w: data_offsets must be two whole numbers from 0, got [-1,1];"],
    [
      "offsets out of order",
      header({ w: entry("U8", [1], [1, 0]) }, 1),
      "w: data_offsets must be in order, got [1, 0]; the file is damaged, download it again",
    ],
    [
      "an end beyond the file",
      header({ w: entry("U8", [9], [0, 9]) }, 8),
      "w: the tensor must end within the file's 8 bytes of data, got data_offsets [0, 9]; " +
        "the file is truncated, finish or repeat the download",
    ],
    [
      "a shape of another size",
      header({ w: entry("F32", [2, 3], [0, 20]) }, 20),
      "w: F32 [2, 3] takes 24 bytes, got data_offsets [0, 20] of 20;",
    ],
    [
      "overlapping tensors",
      header({ v: entry("U8", [4], [0, 4]), w: entry("U8", [4], [2, 6]) }, 6),
      "w: tensors must lie end to end, got w at byte 2 of the data where v ends at 4 (they overlap); " +
        "the file is damaged, download it again",
    ],
    ["one place for two", header({ v: entry("U8", [4], [0, 4]), w: entry("U8", [4], [0, 4]) }, 4), "(they overlap)"],
    [
      "a gap",
      header({ v: entry("U8", [1], [0, 1]), w: entry("U8", [1], [2, 3]) }, 3),
      "w: tensors must lie end to end, got w at byte 2 of the data where v ends at 1 (they leave a gap);",
    ],
    [
      "a gap at the start",
      header({ w: entry("U8", [1], [1, 2]) }, 2),
      "got w at byte 1 of the data where the header ends at 0 (they leave a gap);",
    ],
    [
      "bytes left over",
      header({ w: entry("U8", [1], [0, 1]) }, 5),
      "the last tensor must end at the end of the file, got 4 bytes after w; the file is damaged or still being written, download it again",
    ],
  ])("%s", async (_, bytes, message) => {
    const error = await open(bytes).then(
      () => null,
      (thrown: Error) => thrown,
    );
    expect(error?.message).toContain(message);
    expect(error?.message).toMatch(/^\[checkpoint\] transformer\/diffusion_pytorch_model\.safetensors: .*, got .*; .* \(in memory\)$/);
    expect(error!.message.length).toBeLessThan(400);
  });

  test("a header above the format's bound, before it is read", async () => {
    const big = memorySource({ [PATH]: raw("{}", 0, 100_000_001n) });
    const claimed = { ...big, size: async () => 200_000_000 };
    await expect(openSafetensors(claimed, PATH)).rejects.toThrow(
      `${PLACE}a header may hold at most 100000000 bytes, got 100000001; this is not a safetensors file, download it again`,
    );
  });

  test("what could not be read is not asked for again, to see what else it is", async () => {
    const honest = memorySource({ "x.safetensors": writeSafetensors({}) });
    let reads = 0;
    const failing = {
      ...honest,
      read: async () => (
        reads++, Promise.reject(new CogwheelError("checkpoint", "x.safetensors: the server must answer, got nothing; try again"))
      ),
    };
    await expect(openSafetensors(failing, "x.safetensors")).rejects.toThrow("the server must answer");
    expect(reads).toBe(1);
  });

  test("a missing file", async () => {
    await expect(openSafetensors(memorySource({}), PATH)).rejects.toThrow(
      `${PLACE}must exist, got no such file; check the folder or finish the download`,
    );
  });
});
