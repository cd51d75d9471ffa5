/** PyTorch's own files: both kinds are read as data, what would run is refused, and no damage hangs or crashes the reader. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { CogwheelError } from "../../src/base/errors.ts";
import { toFloat32 } from "../../src/files/convert.ts";
import { isTorchFile, openTorch } from "../../src/files/torch/open.ts";
import { memorySource } from "../../src/sources/memory.ts";
import { drawn } from "../../src/check/sweep/draw.ts";

const fixture = (name: string): Uint8Array<ArrayBuffer> =>
  new Uint8Array(readFileSync(new URL(`fixtures/torch/${name}.pth`, import.meta.url)));
const open = (bytes: Uint8Array<ArrayBuffer>) => openTorch(memorySource({ file: bytes }, "memory"), "file");

async function valuesOf(bytes: Uint8Array<ArrayBuffer>): Promise<Record<string, { shape: readonly number[]; values: number[] }>> {
  const file = await open(bytes);
  const out: Record<string, { shape: readonly number[]; values: number[] }> = {};
  for (const name of file.tensors.keys()) {
    const { bytes: data, dtype, shape } = await file.read(name);
    out[name] = { shape, values: [...toFloat32(data, dtype)] };
  }
  return out;
}

describe("a state dict", () => {
  const eighths = (first: number, count: number) => Array.from({ length: count }, (_, i) => (first + i) / 8);
  test.each(["zip", "stream", "run"])("%s: its tensors, which share a storage, in every type", async (name) => {
    expect(await valuesOf(fixture(name))).toEqual({
      "features.0.weight": { shape: [2, 2, 3], values: eighths(0, 12) },
      "features.0.bias": { shape: [2], values: eighths(12, 2) },
      half: { shape: [3], values: [1.5, -2, 65504] },
      brain: { shape: [2], values: [1.5, -3] },
      steps: { shape: [], values: [7] },
      parameter: { shape: [1, 2], values: [0.25, 0.5] },
    });
  });

  test("as Python 2 wrote it: texts of bytes, an ordered dict of a list of pairs", async () => {
    const text = (s: string) => `U${String.fromCharCode(s.length)}${s}`;
    const storage = `(${text("storage")}ctorch\nFloatStorage\n${text("7")}${text("cpu")}K\x02NtQ`;
    const tensor = `ctorch._utils\n_rebuild_tensor_v2\n(${storage}K\x00K\x02\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR`;
    const state = `\x80\x02ccollections\nOrderedDict\n](](${text("w")}${tensor}ea\x85R.`.replace("](](", "]](");
    const parts = [
      "\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
      "\x80\x02M\xe9\x03.",
      `\x80\x02}${text("little_endian")}\x88s.`,
      state,
      `\x80\x02]${text("7")}a.`,
      "\x02\0\0\0\0\0\0\0\0\0\x80\x3f\0\0\0\xc0",
    ];
    const bytes = Uint8Array.from(parts.join(""), (c) => c.charCodeAt(0));
    expect(await valuesOf(bytes)).toEqual({ w: { shape: [2], values: [1, -2] } });
  });
});

describe("what is refused, with its place", () => {
  test.each([
    ["runs", /a pickle may refer to collections\.OrderedDict, .* alone, got "posix\.system" at byte \d+/],
    ["code", /a pickle may refer to .* alone, got "torch\.nn\.modules\.linear\.Linear" at byte \d+/],
    ["turned", /"t" must lie in order, got strides \[1, 3\] of \[3, 2\]; save it contiguous/],
  ])("%s", async (name, rule) => {
    await expect(open(fixture(name))).rejects.toThrow(rule);
  });

  const made = (pickle: string) => {
    const whole = `\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}U\rlittle_endian\x88s.${pickle}\x80\x02].`;
    return open(Uint8Array.from(whole, (c) => c.charCodeAt(0)));
  };
  test.each([
    ["an object of a class", "\x80\x02)\x81.", /got NEWOBJ, which makes an object of a class at byte/],
    ["an unknown instruction", "\x80\x02\xff.", /got code 0xff at byte/],
    [
      "a call of what is a type of values",
      "\x80\x02ctorch\nFloatStorage\n)R.",
      /a call must be of what makes tensors.* got torch\.FloatStorage/,
    ],
    ["an empty stack", "\x80\x02.", /an instruction must find its operands, got an empty stack/],
    ["a mark that is not there", "\x80\x02t.", /an instruction must find its mark, got none/],
    ["what was never kept", "\x80\x02h\x07.", /what is called back must have been kept, got number 7/],
    ["a text that goes on beyond the file", "\x80\x02X\xff\xff\xff\x7f", /a pickle must end inside its file, got 2147483647 bytes/],
    ["no tensors", "\x80\x02}U\x01aK\x01s.", /a dict must hold tensors alone, by name/],
    ["no dict", "\x80\x02K\x01.", /a file must hold a dict of tensors by name/],
    ["a newer protocol", "\x80\x09K\x01.", /a pickle's protocol must be 5 at most, got 9/],
  ])("%s", async (_, pickle, rule) => {
    await expect(made(pickle)).rejects.toThrow(rule);
  });

  test.each([
    ["dicts", "}"],
    ["places where what was made is kept", "\x94"],
  ])("a pickle of millions of %s is refused before it takes the memory", async (_, instruction) => {
    const bytes = new Uint8Array(8 << 20).fill(instruction.charCodeAt(0));
    bytes.set([0x80, 4, 0x7d]);
    await expect(open(bytes)).rejects.toThrow(/a pickle may make and keep 1048576 values at most, got more at byte \d+/);
  });

  test("a safetensors file whose header's length begins as a pickle does is none", () => {
    const head = new TextEncoder().encode("\0\0\0\0\0\0\0\0{");
    new DataView(head.buffer).setBigUint64(0, 640n, true);
    expect(isTorchFile(head)).toBe(false);
    head[8] = 0xf9;
    expect(isTorchFile(head)).toBe(true);
  });

  test("another file is named", async () => {
    await expect(open(Uint8Array.from("GGUF and more", (c) => c.charCodeAt(0)))).rejects.toThrow(/must be a PyTorch file, got a GGUF file/);
  });
});

describe("damage", () => {
  const judge = async (bytes: Uint8Array<ArrayBuffer>) => {
    const error = await valuesOf(bytes).catch((thrown: unknown) => thrown);
    if (error instanceof Error) expect(error).toBeInstanceOf(CogwheelError);
  };
  test.each(["zip", "stream"])("%s, cut short anywhere, is refused", async (name) => {
    const whole = fixture(name);
    for (let length = 0; length < whole.length; length += 7)
      await expect(open(whole.slice(0, length)), String(length)).rejects.toBeInstanceOf(CogwheelError);
  });
  test.each(["zip", "stream"])("%s with bytes changed is read or refused", async (name) => {
    const whole = fixture(name);
    const random = drawn(4000, name.length);
    for (let i = 0; i + 4 < random.length; i += 4) {
      const bytes = whole.slice();
      for (const at of [0, 2])
        bytes[Math.floor((Math.abs(random[i + at]!) % 1) * bytes.length)] = Math.floor(128 + 128 * random[i + at + 1]!) & 255;
      await judge(bytes);
    }
  });
});
