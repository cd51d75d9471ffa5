import { describe, expect, test } from "vitest";
import { bf16ToNumber, f16ToNumber, numberToF16 } from "../../src/base/half.ts";
import { toFloat16, toFloat32 } from "../../src/files/convert.ts";
import { DTYPE_BYTES } from "../../src/files/safetensors-dtype.ts";
import type { SafetensorsDType } from "../../src/files/safetensors-dtype.ts";
import { F16_LOSS_LIMIT, fitsF16, float16Loss, mergeReports } from "../../src/files/float16-loss.ts";

const ALL = Uint16Array.from({ length: 65536 }, (_, i) => i);
const bytesOf = (view: ArrayBufferView): Uint8Array => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

/** f16 bits, and what they lose. */
const narrowed = (bytes: Uint8Array, dtype: SafetensorsDType) => ({ data: toFloat16(bytes, dtype), report: float16Loss(bytes, dtype) });

/** The value of a small float by its definition, in double arithmetic. */
function decode(word: number, exponentBits: number, mantissaBits: number): number {
  const sign = word >>> (exponentBits + mantissaBits) ? -1 : 1;
  const exponent = (word >>> mantissaBits) & (2 ** exponentBits - 1);
  const fraction = (word & (2 ** mantissaBits - 1)) / 2 ** mantissaBits;
  const bias = 2 ** (exponentBits - 1) - 1;
  if (exponent === 2 ** exponentBits - 1) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias));
}

const f16 = (word: number): number => decode(word, 5, 10);
const bf16 = (word: number): number => decode(word, 8, 7);

/** The nearest f16 by search over all of them, ties to the even one; built from `decode` alone. */
const finite = [...ALL].filter((word) => word < 0x7c00).map(f16);
function nearest(number: number): number {
  const magnitude = Math.abs(number);
  const sign = number < 0 || Object.is(number, -0) ? 0x8000 : 0;
  if (magnitude >= 65520) return sign | 0x7c00;
  let low = 0;
  let high = finite.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (finite[middle]! <= magnitude) low = middle;
    else high = middle;
  }
  const down = magnitude - finite[low]!;
  const up = finite[high]! - magnitude;
  return sign | (down < up || (down === up && low % 2 === 0) ? low : high);
}

test("all 65,536 f16 widen to their value", () => {
  const wide = toFloat32(bytesOf(ALL), "F16");
  for (let word = 0; word < 65536; word++) {
    if (!Object.is(wide[word], f16(word))) expect.fail(`f16 ${word.toString(16)}: got ${wide[word]}, want ${f16(word)}`);
    if (!Object.is(f16ToNumber(word), f16(word))) expect.fail(`f16ToNumber ${word.toString(16)}`);
  }
});

test("all 256 e4m3 widen to their value, those of all ones to NaN", () => {
  const all = Uint8Array.from({ length: 256 }, (_, i) => i);
  const wide = toFloat32(all, "F8_E4M3");
  // Without infinities the largest exponent is one of numbers.
  const size = (byte: number) => ((byte & 127) === 127 ? NaN : (byte & 127) >= 120 ? 256 * (1 + (byte & 7) / 8) : decode(byte & 127, 4, 3));
  for (const byte of all) expect(wide[byte], `e4m3 ${byte.toString(16)}`).toBe(byte & 128 ? -size(byte) : size(byte));
});

test("all 65,536 bf16 widen to their value", () => {
  const wide = toFloat32(bytesOf(ALL), "BF16");
  for (let word = 0; word < 65536; word++) {
    if (!Object.is(wide[word], bf16(word))) expect.fail(`bf16 ${word.toString(16)}: got ${wide[word]}, want ${bf16(word)}`);
    if (!Object.is(bf16ToNumber(word), bf16(word))) expect.fail(`bf16ToNumber ${word.toString(16)}`);
  }
});

test("all 65,536 bf16 narrow to the nearest f16, and the report counts them", () => {
  const { data, report } = narrowed(bytesOf(ALL), "BF16");
  let overflow = 0;
  let underflow = 0;
  let nonFinite = 0;
  for (let word = 0; word < 65536; word++) {
    const from = bf16(word);
    if (!Number.isFinite(from)) nonFinite++;
    if (Number.isNaN(from)) {
      if (!Number.isNaN(f16(data[word]!))) expect.fail(`bf16 ${word.toString(16)}: a NaN became ${f16(data[word]!)}`);
      continue;
    }
    const want = nearest(from);
    if (data[word] !== want) expect.fail(`bf16 ${word.toString(16)} = ${from}: got ${data[word]!.toString(16)}, want ${want.toString(16)}`);
    if (Number.isFinite(from) && !Number.isFinite(f16(want))) overflow++;
    if (from !== 0 && f16(want) === 0) underflow++;
  }
  expect(report).toMatchObject({ count: 65536, overflow, underflow, nonFinite, relativeError: Infinity });
  expect(fitsF16(report)).toBe(false);
});

test("all f16 come back from f32, and F16 goes through unchanged", () => {
  const back = narrowed(bytesOf(toFloat32(bytesOf(ALL), "F16")), "F32");
  for (let word = 0; word < 65536; word++) {
    const ok = Number.isNaN(f16(word)) ? Number.isNaN(f16(back.data[word]!)) : back.data[word] === word;
    if (!ok) expect.fail(`f16 ${word.toString(16)} came back as ${back.data[word]!.toString(16)}`);
  }
  expect(back.report).toMatchObject({ overflow: 0, underflow: 0, nonFinite: 2048, relativeError: 0 });
  const same = narrowed(bytesOf(ALL), "F16");
  expect(same.data).toEqual(ALL);
  // Nothing can be lost, so nothing is looked at, NaN and infinities neither.
  expect(same.report).toEqual({ count: 65536, overflow: 0, underflow: 0, nonFinite: 0, relativeError: 0, squaredError: 0, squaredNorm: 0 });
});

test("f32 rounds to nearest even at every boundary between two f16", () => {
  const word = new Uint32Array(1);
  const value = new Float32Array(word.buffer);
  const values: number[] = [];
  for (let low = 0; low < 0x7c00; low++) {
    const middle = (finite[low]! + (low + 1 < 0x7c00 ? finite[low + 1]! : 65536)) / 2; // exact in f32
    value[0] = middle;
    for (const step of [-1, 0, 1]) {
      const at = new Uint32Array([word[0]! + step]);
      values.push(new Float32Array(at.buffer)[0]!, -new Float32Array(at.buffer)[0]!);
    }
  }
  values.push(0, -0, 1e-45, -1e-45, 1.17e-38, 2 ** -25, 2 ** -24, 65504, 65519.99, 65520, 65536, 1e38, -1e38, Infinity, -Infinity);
  const source = Float32Array.from(values);
  const { data } = narrowed(bytesOf(source), "F32");
  source.forEach((from, i) => {
    const want = nearest(from);
    if (data[i] !== want) expect.fail(`${from}: got ${data[i]!.toString(16)}, want ${want.toString(16)}`);
    if (numberToF16(from) !== want) expect.fail(`numberToF16(${from})`);
  });
  expect(Number.isNaN(f16(numberToF16(NaN)))).toBe(true);
});

describe("what is lost", () => {
  const bf16Of = (...values: number[]): Uint8Array =>
    bytesOf(Uint16Array.from(values, (number) => new Uint32Array(Float32Array.of(number).buffer)[0]! >>> 16));

  test("one overflow keeps f32", () => {
    const { report } = narrowed(bytesOf(Float32Array.of(1, 70000, -2)), "F32");
    expect(report).toMatchObject({ count: 3, overflow: 1, underflow: 0, relativeError: Infinity });
    expect(fitsF16(report)).toBe(false);
    expect(fitsF16(narrowed(bf16Of(1e5, 1), "BF16").report)).toBe(false);
    expect(fitsF16(narrowed(bytesOf(Float32Array.of(65519)), "F32").report)).toBe(true);
  });

  test("what is counted is what the conversion does, to the last digit of the sums", () => {
    const random = Uint32Array.from({ length: 300_000 }, (_, i) => Math.imul(i + 1, 2654435761) ^ (i << 7));
    // Every exponent and sign; and the region that weights lie in, ties between two f16 included.
    const source = new Float32Array(random.buffer.slice(0));
    for (let i = 0; i < 200_000; i++)
      source[i] =
        i % 3 === 0 ? (i - 100_000) * 2 ** -13 : i % 3 === 1 ? (i - 100_000) * 2 ** -26 : (random[i]! / 2 ** 32 - 0.5) * 2 ** -(i % 20);
    const { data, report } = narrowed(bytesOf(source), "F32");
    const want = { count: source.length, overflow: 0, underflow: 0, nonFinite: 0, squaredError: 0, squaredNorm: 0 };
    for (const [i, from] of source.entries()) {
      const to = f16(data[i]!);
      if (!Number.isFinite(from)) want.nonFinite++;
      else if (!Number.isFinite(to)) want.overflow++;
      else {
        if (to === 0 && from !== 0) want.underflow++;
        want.squaredError += (to - from) ** 2;
        want.squaredNorm += from ** 2;
      }
    }
    expect(want.overflow > 100 && want.underflow > 100 && want.nonFinite > 100).toBe(true);
    expect(report).toMatchObject(want);
  });

  test("a few underflows beside ordinary weights are counted and fit", () => {
    const { report } = narrowed(bf16Of(0.02, -0.01, 1e-9, 3e-10, 0), "BF16");
    expect(report).toMatchObject({ count: 5, overflow: 0, underflow: 2 });
    expect(report.relativeError).toBeLessThan(F16_LOSS_LIMIT);
    expect(fitsF16(report)).toBe(true);
  });

  test("a tensor that lies below f16 as a whole keeps f32", () => {
    const { report } = narrowed(bf16Of(1e-8, 2e-8, -1e-8), "BF16");
    expect(report.underflow).toBe(3);
    expect(report.relativeError).toBe(1);
    expect(fitsF16(report)).toBe(false);
    // Subnormal, so nothing underflows, but most digits go.
    const coarse = narrowed(bytesOf(Float32Array.of(1.3e-7, 2.4e-7)), "F32").report;
    expect(coarse.underflow).toBe(0);
    expect(fitsF16(coarse)).toBe(false);
  });

  test("ordinary rounding never keeps f32", () => {
    const worst = Float32Array.from({ length: 1000 }, (_, i) => (1 + 2 ** -11) * 2 ** (i % 20) * 1e-4);
    expect(fitsF16(narrowed(bytesOf(worst), "F32").report)).toBe(true);
  });

  test("zeros, and infinities that were there before, are no loss", () => {
    expect(narrowed(new Uint8Array(8), "F32").report).toMatchObject({ count: 2, relativeError: 0, underflow: 0 });
    const { report, data } = narrowed(bytesOf(Float32Array.of(Infinity, NaN, 1)), "F32");
    expect(report).toMatchObject({ overflow: 0, nonFinite: 2, relativeError: 0 });
    expect(data[0]).toBe(0x7c00);
    expect(narrowed(new Uint8Array(0), "BF16").report).toMatchObject({ count: 0, relativeError: 0 });
  });

  test("pieces merge to the whole", () => {
    const source = Float32Array.from({ length: 1000 }, (_, i) => Math.sin(i) * 10 ** ((i % 19) - 12));
    const whole = narrowed(bytesOf(source), "F32").report;
    const merged = mergeReports([0, 300, 999].map((at, i) => narrowed(bytesOf(source.slice(at, [300, 999, 1000][i])), "F32").report));
    expect(merged.relativeError).toBeCloseTo(whole.relativeError, 12);
    expect({ ...merged, relativeError: 0, squaredError: 0, squaredNorm: 0 }).toEqual({
      ...whole,
      relativeError: 0,
      squaredError: 0,
      squaredNorm: 0,
    });
    expect(mergeReports([]).count).toBe(0);
  });
});

test("a tensor longer than the chunk is converted whole", () => {
  const source = Float32Array.from({ length: 70_001 }, (_, i) => i / 7);
  const { data, report } = narrowed(bytesOf(source), "F32");
  expect(report.count).toBe(70_001);
  for (const i of [0, 65_535, 65_536, 70_000]) expect(data[i]).toBe(nearest(source[i]!));
});

test.each<[SafetensorsDType, ArrayBufferView, number[]]>([
  ["F64", Float64Array.of(1.5, -1e300, 0.1), [1.5, -Infinity, Math.fround(0.1)]],
  ["F32", Float32Array.of(1.5, -0, 0.1), [1.5, -0, Math.fround(0.1)]],
  ["I64", BigInt64Array.of(-3n, 1n << 40n), [-3, 2 ** 40]],
  ["I32", Int32Array.of(-3, 7), [-3, 7]],
  ["I16", Int16Array.of(-3, 7), [-3, 7]],
  ["I8", Int8Array.of(-3, 7), [-3, 7]],
  ["U8", Uint8Array.of(200, 7), [200, 7]],
  ["U16", Uint16Array.of(65535, 7), [65535, 7]],
  ["U32", Uint32Array.of(2 ** 31, 7), [2 ** 31, 7]],
  ["BOOL", Uint8Array.of(0, 1), [0, 1]],
])("%s becomes f32, from any alignment", (dtype, source, want) => {
  const odd = new Uint8Array(source.byteLength + 1);
  odd.set(bytesOf(source), 1);
  for (const bytes of [bytesOf(source), odd.subarray(1)]) {
    const got = toFloat32(bytes, dtype);
    for (const [i, number] of want.entries()) expect(Object.is(got[i], number), `${got[i]} for ${number}`).toBe(true);
    expect(narrowed(bytes, dtype).data.length).toBe(want.length);
  }
});

test("every dtype has a size", () => {
  expect(Object.keys(DTYPE_BYTES)).toHaveLength(13);
});

test("half an element and an output of another length are refused", () => {
  expect(() => toFloat32(new Uint8Array(3), "BF16")).toThrow(
    "[checkpoint] a conversion must get whole BF16 elements of 2 bytes, got 3 bytes; cut at an element",
  );
  expect(() => toFloat16(new Uint8Array(4), "BF16", new Uint16Array(3))).toThrow(
    "[checkpoint] toFloat16: out must hold as many elements as the source, got 3 for 2; pass an array of that length",
  );
});
