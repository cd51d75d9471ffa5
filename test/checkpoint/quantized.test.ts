/** Quantized safetensors: which weights their tensors are, to the values that the libraries read which wrote the files. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { findWeights } from "../../src/checkpoint/weight-index.ts";
import { toFloat32 } from "../../src/files/convert.ts";
import type { SafetensorsDType } from "../../src/files/safetensors-dtype.ts";
import { openSafetensors, writeSafetensors } from "../../src/files/safetensors.ts";
import { folderSource } from "../../src/sources/folder.ts";
import { memorySource } from "../../src/sources/memory.ts";
import { valuesOf } from "../support/dequantize.ts";

const FIXTURES = join(import.meta.dirname, "../files/fixtures");
const indexOf = (bytes: Uint8Array) => findWeights(memorySource({ "model.safetensors": bytes }), "", "model");

/** What the writers' libraries read in a file: weight → values. */
async function expected(file: string): Promise<Map<string, Float32Array>> {
  await using source = await folderSource(FIXTURES);
  const values = await openSafetensors(source, "values.safetensors");
  const mine = [...values.tensors.keys()].filter((name) => name.startsWith(`${file}:`));
  return new Map(
    await Promise.all(mine.map(async (name) => [name.slice(file.length + 1), toFloat32((await values.read(name)).bytes, "F32")] as const)),
  );
}

test.each(["blocks.safetensors", "scaled-fp8.safetensors"])("%s", async (file) => {
  const index = await indexOf(new Uint8Array(await readFile(join(FIXTURES, file))));
  const want = await expected(file);
  expect([...index.names()].sort()).toEqual([...want.keys()].sort());
  for (const [name, values] of want) expect(await valuesOf(index.stored(name)), name).toEqual(values);
});

test("a part of a weight is read", async () => {
  const index = await indexOf(new Uint8Array(await readFile(join(FIXTURES, "blocks.safetensors"))));
  const weight = index.stored("b.0.weight");
  expect(weight).toMatchObject({ shape: [5, 32], format: "q8_0", label: "b.0.Q8_0_qweight in model.safetensors" });
  const [whole, part] = [new Uint8Array(170), new Uint8Array(200)];
  await weight.read(0, whole);
  await weight.read(34, part.subarray(3, 37));
  expect(part.subarray(3, 37)).toEqual(whole.subarray(34, 68));
  await expect(weight.read(150, new Uint8Array(34))).rejects.toThrow(/must stay inside the weight's 170 bytes, got 150 to 184/);
});

const tensor = (dtype: SafetensorsDType, shape: number[], bytes: number) => ({ dtype, shape, data: new Uint8Array(bytes).fill(60) });
const number = (value: number) => ({ dtype: "F32" as const, shape: [], data: Float32Array.of(value) });

describe("what cannot be read is refused by name", () => {
  test.each([
    [{ "m.Q3_K_qweight": tensor("U8", [2, 110], 220) }, /m\.Q3_K_qweight: quantized weights must be of the types Q8_0, .*, got Q3_K;/],
    [{ "m.Q4_0_qweight": tensor("U8", [2, 20], 40) }, /m\.Q4_0_qweight: a row must be whole Q4_0 blocks of 18 bytes, got rows of 20 bytes/],
    [{ "m.Q4_0_qweight": tensor("U8", [36], 36) }, /must be a matrix of bytes \(U8\), got U8 \[36\]/],
    [{ "m.Q4_0_qweight": tensor("F16", [2, 18], 72) }, /must be a matrix of bytes \(U8\), got F16 \[2, 18\]/],
    [
      { "m.weight": tensor("F16", [2, 32], 128), "m.Q4_0_qweight": tensor("U8", [2, 18], 36) },
      /must be there once, got m\.weight and m\.Q4_0/,
    ],
    [
      { "m.weight": tensor("F8_E4M3", [2, 2], 4), scaled_fp8: tensor("F8_E4M3", [0], 0) },
      /m\.weight: an fp8 matrix .* expected m\.scale_weight or/,
    ],
    [
      { "m.weight": tensor("F8_E4M3", [2, 2], 4), "n.weight": tensor("F8_E4M3", [2, 2], 4), "n.weight_scale": number(1) },
      /m\.weight: an fp8 matrix of a scaled file must have its scale, got none/,
    ],
    [
      { "m.weight": tensor("I8", [2, 2], 4), "m.weight_scale": number(1) },
      /m\.weight: a weight with a scale \(m\.weight_scale\) must be fp8.*got I8/,
    ],
    [
      { "m.weight": tensor("F8_E4M3", [2, 2], 4), "m.weight_scale": number(NaN) },
      /m\.weight_scale: a scale must be a finite number, got NaN/,
    ],
    [
      { "m.weight": tensor("F8_E4M3", [2, 2], 4), "m.weight_scale": tensor("F32", [4], 16) },
      /m\.weight_scale: a scale must be one float, or one for each of the 2 rows of m\.weight, got F32 \[4\]/,
    ],
  ])("%j", async (tensors, message) => {
    await expect(indexOf(writeSafetensors(tensors))).rejects.toThrow(message);
  });
});

test("plain fp8, and tables beside scaled matrices, have no scale", async () => {
  const index = await indexOf(
    writeSafetensors({
      "shared.weight": tensor("F8_E4M3", [3, 2], 6),
      "m.weight": tensor("F8_E4M3", [1, 2], 2),
      "m.scale_weight": number(0.5),
      "m.scale_input": number(3),
    }),
  );
  expect([...index.names()]).toEqual(["m.weight", "shared.weight"]);
  expect(await valuesOf(index.stored("m.weight"))).toEqual(Float32Array.of(0.75, 0.75));
  expect(index.stored("shared.weight").scale).toBeUndefined();
});
