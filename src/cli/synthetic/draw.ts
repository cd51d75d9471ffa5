/**
 * Random weights at the speed of a disk: normal numbers, two of them from each 32 bits of a generator, by a table of the distribution's
 * 65,536 quantiles that are rounded to the stored type beforehand.
 */
import { roundToF16 } from "../../base/half.ts";
import type { Scale } from "./scale.ts";

/** 16-bit types of published files. */
export type StoredType = "F16" | "BF16";

const words = new Uint32Array(1);
const number = new Float32Array(words.buffer);

/** The 16 bits of a number; what lies beyond the type does not come up here. */
function bitsOf(value: number, type: StoredType): number {
  number[0] = value;
  const word = words[0]!;
  if (type === "F16") return roundToF16(word);
  return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16; // to nearest, ties to even
}

/**
 * The standard normal distribution's quantile, for 0 < p < 1, with a relative error below 1.2e-9.
 * After Acklam 2003, "An algorithm for computing the inverse normal cumulative distribution function".
 */
function quantile(p: number): number {
  const tail = Math.min(p, 1 - p);
  if (tail >= 0.02425) {
    const q = p - 0.5;
    const r = q * q;
    const up =
      ((((-39.69683028665376 * r + 220.9460984245205) * r - 275.9285104469687) * r + 138.357751867269) * r - 30.66479806614716) * r;
    const down =
      ((((-54.47609879822406 * r + 161.5858368580409) * r - 155.6989798598866) * r + 66.80131188771972) * r - 13.28068155288572) * r;
    return ((up + 2.506628277459239) * q) / (down + 1);
  }
  const q = Math.sqrt(-2 * Math.log(tail));
  const up =
    ((((-0.007784894002430293 * q - 0.3223964580411365) * q - 2.400758277161838) * q - 2.549732539343734) * q + 4.374664141464968) * q;
  const down = (((0.007784695709041462 * q + 0.3224671290700398) * q + 2.445134137142996) * q + 3.754408661907416) * q;
  return (Math.sign(p - 0.5) * -(up + 2.938163982698783)) / (down + 1);
}

let quantiles: Float64Array | undefined;
const tables = new Map<string, Uint16Array>();

/** The quantiles of a normal distribution in the bits of a type; a model has few distributions, which are kept. */
export function normalTable({ mean, deviation }: Scale, type: StoredType): Uint16Array {
  quantiles ??= Float64Array.from({ length: 65536 }, (_, i) => quantile((i + 0.5) / 65536));
  const key = `${mean} ${deviation} ${type}`;
  const table = tables.get(key) ?? Uint16Array.from(quantiles, (q) => bitsOf(mean + deviation * q, type));
  tables.set(key, table);
  return table;
}

/** The numbers of one tensor, which follow from the seed and the tensor's name alone: any piece of a model is the same in all of them. */
export class TensorDraw {
  readonly #table: Uint16Array;
  readonly #state = new Int32Array(4);

  constructor(seed: number, name: string, table: Uint16Array) {
    this.#table = table;
    // The name's FNV-1a hash beside the seed; the first rounds mix them.
    let hash = 0x811c9dc5;
    for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
    this.#state.set([hash, seed, seed / 2 ** 32, 1]);
    this.fill(new Uint16Array(32));
  }

  /** Draws the next numbers. All calls but a tensor's last must ask for an even count. */
  fill(target: Uint16Array<ArrayBuffer>): void {
    const table = this.#table;
    let a = this.#state[0]!;
    let b = this.#state[1]!;
    let c = this.#state[2]!;
    let d = this.#state[3]!;
    const whole = target.length >>> 1;
    const pairs = new Uint32Array(target.buffer, target.byteOffset, whole);
    for (let i = 0; i < whole + (target.length & 1); i++) {
      // The generator sfc32, of additions and shifts alone.
      const t = (a + b + d) | 0;
      d = (d + 1) | 0;
      a = b ^ (b >>> 9);
      b = (c + (c << 3)) | 0;
      c = (((c << 21) | (c >>> 11)) + t) | 0;
      if (i < whole) pairs[i] = table[t & 0xffff]! | (table[t >>> 16]! << 16);
      else target[target.length - 1] = table[t & 0xffff]!;
    }
    this.#state.set([a, b, c, d]);
  }
}
