/** Quantizing: the bytes that PyPI's gguf makes of the same numbers, and what is lost. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { toFloat32 } from "../../src/files/convert.ts";
import { dequantize, quantize, QUANTIZED_TYPES } from "../../src/files/quantize.ts";
import { openSafetensors } from "../../src/files/safetensors.ts";
import { memorySource } from "../../src/sources/memory.ts";
import { relativeL2, values } from "../support/compare.ts";
import { dequantized } from "../support/dequantize.ts";

test.each(QUANTIZED_TYPES)("%s: the same numbers become the same bytes", async (type) => {
  const file = await openSafetensors(
    memorySource({ q: new Uint8Array(await readFile(join(import.meta.dirname, "fixtures/quantizers.safetensors"))) }),
    "q",
  );
  const x = toFloat32((await file.read("values")).bytes, "F32");
  expect(Buffer.from(quantize(x, type)).toString("hex")).toBe(Buffer.from((await file.read(type)).bytes).toString("hex"));
});

test.each([
  ["q8_0", 0.006],
  ["q5_0", 0.04],
  ["q4_0", 0.08],
] as const)("%s: values come back within its grid", (type, most) => {
  const x = values(4096, 3, 0.2);
  const bytes = quantize(x, type);
  const back = dequantize(bytes, type);
  expect(back).toEqual(dequantized(bytes, { format: type, shape: [64, 64] }));
  expect(relativeL2(back, x)).toBeLessThan(most);
  expect(relativeL2(back, x)).toBeGreaterThan(most / 4);
});

test("values too small for a scale become zeros, and half a block is refused", () => {
  for (const type of QUANTIZED_TYPES) {
    expect(dequantize(quantize(new Float32Array(32).fill(1e-44), type), type).every((v) => v === 0)).toBe(true);
    expect(() => quantize(new Float32Array(48), type)).toThrow(/^\[quantize\] whole blocks of 32 values must be given.*got 48/);
  }
});
