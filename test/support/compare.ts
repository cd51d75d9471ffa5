import { expect } from "vitest";

/** Repeatable values in −1…1 for test inputs (mulberry32). */
export function values(count: number, seed = 1, scale = 1): Float32Array {
  let state = seed >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return scale * (((t ^ (t >>> 14)) >>> 0) / 2147483648 - 1);
  });
}

export function relativeL2(got: ArrayLike<number>, want: ArrayLike<number>): number {
  let error = 0;
  let norm = 0;
  for (let i = 0; i < want.length; i++) {
    error += (got[i]! - want[i]!) ** 2;
    norm += want[i]! ** 2;
  }
  return Math.sqrt(error) / Math.max(Math.sqrt(norm), 1e-30);
}

/** Fails with the worst coordinate and how much of the tolerance was used. */
export function expectClose(got: Float32Array, want: ArrayLike<number>, tolerance: number, shape: readonly number[] = [want.length]): void {
  expect(got.length, "element count").toBe(want.length);
  let worst = 0;
  for (let i = 0; i < want.length; i++) if (!(Math.abs(got[i]! - want[i]!) <= Math.abs(got[worst]! - want[worst]!))) worst = i;
  const error = relativeL2(got, want);
  if (!(error <= tolerance)) {
    const at: number[] = [];
    for (let rest = worst, axis = shape.length - 1; axis >= 0; axis--) {
      at.unshift(rest % shape[axis]!);
      rest = Math.floor(rest / shape[axis]!);
    }
    const around = (a: ArrayLike<number>) => Array.from({ length: 5 }, (_, j) => a[worst + j - 2]?.toPrecision(6)).join(" ");
    expect.fail(
      `relative L2 ${error.toExponential(2)} is ${(error / tolerance).toPrecision(3)} × the tolerance ${tolerance}; ` +
        `worst at [${at.join(", ")}] of [${shape.join(", ")}]\n  got  ${around(got)}\n  want ${around(want)}`,
    );
  }
}

/** f32 → f16 bits, nearest even, for values that f16 holds as normal numbers or zero; written apart from the engine's own. */
export function toHalf(data: Float32Array): Uint16Array {
  return Uint16Array.from(data, (v) => {
    const a = Math.abs(v);
    if (a < 2 ** -24) return v < 0 ? 0x8000 : 0;
    const exponent = Math.max(-14, Math.floor(Math.log2(a)));
    const scaled = a / 2 ** (exponent - 10);
    let mantissa = Math.floor(scaled);
    const rest = scaled - mantissa;
    if (rest > 0.5 || (rest === 0.5 && mantissa % 2 === 1)) mantissa++;
    const bits = exponent === -14 && mantissa < 1024 ? mantissa : (exponent + 15) * 1024 + (mantissa - 1024);
    return (v < 0 ? 0x8000 : 0) | bits;
  });
}
