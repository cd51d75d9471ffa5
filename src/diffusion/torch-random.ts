/**
 * The numbers of torch's CPU generator, so that a seed means the same noise here as in the reference, on every device.
 * Facts from ATen: MT19937RNGEngine.h (the engine), CPUGeneratorImpl.cpp (32 and 64 random bits),
 * DistributionsHelper.h (uniform and normal), native/cpu/DistributionTemplates.h (normal_fill).
 */
import { CogwheelError } from "../base/errors.ts";

const N = 624;
const M = 397;

/** torch's `torch.Generator()` on the CPU. State runs on from call to call, exactly as torch's does. */
export class TorchGenerator {
  readonly #state = new Uint32Array(N);
  #left = 1;
  #next = 0;
  /** The sine half of the last Box–Muller pair of the path for fewer than 16 values, which torch keeps for later. */
  #cached: number | null = null;

  /** A generator after `manual_seed(seed)`. */
  constructor(seed: number | bigint) {
    this.manualSeed(seed);
  }

  /**
   * Starts over. Seeds run from −2⁶³ to 2⁶⁴ − 1; like torch's engine this uses their low 32 bits (−1 is 2⁶⁴ − 1).
   * Give seeds above 2⁵³ as bigint.
   */
  manualSeed(seed: number | bigint): this {
    if (typeof seed === "number" && !Number.isSafeInteger(seed)) {
      throw new CogwheelError("random", `a seed must be a whole number, got ${seed}; above 2^53 pass a bigint`);
    }
    const wide = BigInt(seed);
    if (wide < -(1n << 63n) || wide >= 1n << 64n) {
      throw new CogwheelError("random", `a seed must lie within -2^63 to 2^64 - 1, got ${seed}; choose a smaller one`);
    }
    const state = this.#state;
    state[0] = Number(BigInt.asUintN(32, wide));
    for (let i = 1; i < N; i++) {
      const previous = state[i - 1]!;
      state[i] = Math.imul(1812433253, previous ^ (previous >>> 30)) + i;
    }
    this.#left = 1;
    this.#next = 0;
    this.#cached = null;
    return this;
  }

  /** The next 32 random bits, as an unsigned integer. */
  random(): number {
    if (--this.#left === 0) this.#twist();
    let y = this.#state[this.#next++]!;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  #twist(): void {
    const state = this.#state;
    const mix = (u: number, v: number): number => (((u & 0x80000000) | (v & 0x7fffffff)) >>> 1) ^ (v & 1 ? 0x9908b0df : 0);
    for (let i = 0; i < N; i++) {
      state[i] = state[(i + M) % N]! ^ mix(state[i]!, state[(i + 1) % N]!);
    }
    this.#left = N;
    this.#next = 0;
  }

  /** Uniform in [0, 1) from 53 of 64 random bits, the high word drawn first. */
  #uniform53(): number {
    const high = this.random();
    const low = this.random();
    return ((high & 0x1fffff) * 2 ** 32 + low) * 2 ** -53;
  }

  /** One normal value in double precision: half a Box–Muller pair, the other half kept for the next call. */
  #normal(): number {
    if (this.#cached !== null) {
      const value = this.#cached;
      this.#cached = null;
      return value;
    }
    const u1 = this.#uniform53();
    const u2 = this.#uniform53();
    const radius = Math.sqrt(-2 * Math.log1p(-u2));
    const theta = 2 * Math.PI * u1;
    this.#cached = radius * Math.sin(theta);
    return radius * Math.cos(theta);
  }

  /**
   * `torch.randn(shape, generator=…)` in float32, row-major. Below 16 values torch draws them one by one in double
   * precision; from 16 on it fills with uniforms and turns them into normals in blocks of 16, and if the last block is
   * not full it draws the last 16 values anew.
   */
  randn(shape: readonly number[]): Float32Array<ArrayBuffer> {
    for (const length of shape) {
      if (!Number.isSafeInteger(length) || length < 0) {
        throw new CogwheelError("random", `a shape must hold whole numbers from 0, got [${shape.join(", ")}]; correct it`);
      }
    }
    const size = shape.reduce((product, length) => product * length, 1);
    const out = new Float32Array(size);
    if (size < 16) {
      for (let i = 0; i < size; i++) out[i] = this.#normal();
      return out;
    }
    this.#fillUniform(out, 0, size);
    for (let at = 0; at + 16 <= size; at += 16) boxMuller16(out, at);
    if (size % 16 !== 0) {
      this.#fillUniform(out, size - 16, size);
      boxMuller16(out, size - 16);
    }
    return out;
  }

  /** `torch.empty(shape).uniform_(from, to, generator=…)` in float32, row-major: one draw a value. */
  uniform(shape: readonly number[], from = 0, to = 1): Float32Array<ArrayBuffer> {
    const out = new Float32Array(shape.reduce((product, length) => product * length, 1));
    this.#fillUniform(out, 0, out.length);
    const span = Math.fround(Math.fround(to) - Math.fround(from));
    return out.map((x) => Math.fround(x * span) + Math.fround(from));
  }

  /** Uniforms in [0, 1) with 24 bits, one draw each. */
  #fillUniform(out: Float32Array, start: number, end: number): void {
    for (let i = start; i < end; i++) out[i] = (this.random() & 0xffffff) * 2 ** -24;
  }
}

const TWO_PI = Math.fround(2 * Math.PI);

/** Eight radii from the first eight uniforms, eight angles from the last eight; cosines first, then sines. */
function boxMuller16(values: Float32Array, at: number): void {
  for (let i = at; i < at + 8; i++) {
    const u1 = 1 - values[i]!; // (0, 1], exact in float32, so the logarithm is finite
    // torch computes in float32. The angle's rounding is visible in the result, so it is rounded here too.
    const radius = Math.fround(Math.sqrt(Math.fround(-2 * Math.fround(Math.log(u1)))));
    const theta = Math.fround(TWO_PI * values[i + 8]!);
    values[i] = radius * Math.fround(Math.cos(theta));
    values[i + 8] = radius * Math.fround(Math.sin(theta));
  }
}
