/**
 * Layouts of a weight on the GPU. A packed weight is derived from its logical value and cached under
 * (names, shape, packing, dtype). What is no weight is packed in each run (`pack-operands.ts`).
 *
 *  natural   as in the checkpoint, row-major
 *  panel     [out, in] → [ceil(out / 16)][in padded to 4][16]: the 16 output columns of a panel lie side by side for each
 *            input, zeros past the end. Matmul and convolution read whole vec4 rows of it, and windows over panels are contiguous
 *            ranges. A convolution's [out, in, kt, kh, kw] becomes [panel][kt][kh][kw][in padded to 4][16].
 *  row       [out, in] → [out padded to 16][in padded to 8], zeros past the ends: for kernels that read 8 halves of a row at once. A
 *            convolution's [out, in, kt, kh, kw] becomes [out padded to 16][kt][kh][kw][in padded to 8].
 *  vector    any shape, flat, zeros up to a multiple of 16: biases and norm weights, read a vec4 at a time
 *
 * In all of them 16 outputs become one contiguous block, and blocks follow each other as outputs do. So a weight is packed
 * as it is read (`Packer`), and is never on the host as a whole.
 */
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, elements, type DType } from "./dtype.ts";

export type Packing = "natural" | "panel" | "row" | "vector";
export const PANEL = 16;

/** Values of a weight; f16 as raw bits. */
export type WeightValues = Float32Array | Uint16Array;

export const padTo = (n: number, multiple: number): number => Math.ceil(n / multiple) * multiple;

/** Elements of a weight of logical `shape` under `packing`. */
export function packedElements(shape: readonly number[], packing: Packing): number {
  if (packing === "natural") return elements(shape);
  if (packing === "vector") return padTo(elements(shape), PANEL);
  const [out, inner, ...taps] = shape as [number, number, ...number[]];
  return padTo(out, PANEL) * padTo(inner, packing === "row" ? 8 : 4) * elements(taps);
}
export function packedBytes(shape: readonly number[], packing: Packing, dtype: DType): number {
  return packedElements(shape, packing) * bytesOf[dtype];
}

/**
 * Packs a weight as its values come, [out, in] or [out, in, kt, kh, kw] row-major, in parts of any length. What `push` and
 * `finish` yield lies end to end in the packed weight, in multiples of 16 bytes; each is good until the next is asked for.
 */
export class Packer {
  /** Elements that have come. */
  count = 0;
  readonly #packing: Packing;
  readonly #inner: number;
  readonly #padded: number;
  readonly #taps: number;
  readonly #values: new (
    length: number,
  ) => WeightValues;
  /** Values of a block that is not complete yet, and how many. */
  readonly #waiting: WeightValues;
  #held = 0;
  /** A packed block; what lies past the ends is never written and stays zero. */
  readonly #block: WeightValues;

  constructor(shape: readonly number[], packing: Packing, dtype: DType) {
    const [, inner = 1, ...taps] = shape;
    if (elements(shape) === 0)
      throw new CogwheelError("weights", `a weight must have values to be packed, got the shape [${shape.join(", ")}]; leave it out`);
    const flat = packing === "natural" || packing === "vector";
    this.#packing = packing;
    this.#values = dtype === "f16" ? Uint16Array : Float32Array;
    this.#inner = inner;
    this.#taps = elements(taps);
    this.#padded = padTo(inner, packing === "row" ? 8 : 4);
    this.#waiting = new this.#values(flat ? PANEL : PANEL * inner * this.#taps);
    this.#block = flat ? this.#waiting : new this.#values(PANEL * this.#padded * this.#taps);
  }

  *push(values: WeightValues): Generator<WeightValues> {
    this.count += values.length;
    const unit = this.#waiting.length;
    let at = 0;
    if (this.#held > 0) {
      at = Math.min(unit - this.#held, values.length);
      this.#waiting.set(values.subarray(0, at), this.#held);
      this.#held += at;
      if (this.#held < unit) return;
      this.#held = 0;
      yield this.#pack(this.#waiting, 0, PANEL);
    }
    if (this.#block === this.#waiting) {
      const whole = Math.floor((values.length - at) / unit) * unit;
      if (whole > 0) yield values.subarray(at, at + whole);
      at += whole;
    } else for (; at + unit <= values.length; at += unit) yield this.#pack(values, at, PANEL);
    this.#waiting.set(values.subarray(at));
    this.#held = values.length - at;
  }

  /** The last block, where it is not a whole one. */
  *finish(): Generator<WeightValues> {
    if (this.#held === 0) return;
    if (this.#block === this.#waiting) {
      this.#waiting.fill(0, this.#held);
      yield this.#packing === "vector" ? this.#waiting : this.#waiting.subarray(0, padTo(this.#held, 16 / this.#waiting.BYTES_PER_ELEMENT));
      return;
    }
    this.#block.fill(0);
    yield this.#pack(this.#waiting, 0, Math.ceil(this.#held / (this.#inner * this.#taps)));
  }

  #pack(source: WeightValues, at: number, rows: number): WeightValues {
    const [block, inner, padded, taps] = [this.#block, this.#inner, this.#padded, this.#taps];
    if (block === this.#waiting) return block;
    const width = inner * taps;
    if (this.#packing === "row" && taps === 1) {
      for (let row = 0; row < rows; row++) block.set(source.subarray(at + row * width, at + (row + 1) * width), row * padded);
    } else if (
      this.#packing === "panel" &&
      taps === 1 &&
      rows === PANEL &&
      inner % 2 === 0 &&
      (source.byteOffset + at * source.BYTES_PER_ELEMENT) % 4 === 0
    ) {
      const words = (view: WeightValues, from: number, length: number) =>
        new Uint32Array(view.buffer, view.byteOffset + from * view.BYTES_PER_ELEMENT, (length * view.BYTES_PER_ELEMENT) / 4);
      const [from, to] = [words(source, at, PANEL * inner), words(block, 0, block.length)];
      for (const first of [0, 8]) (source.BYTES_PER_ELEMENT === 2 ? interleaveHalves : interleaveWords)(from, first, inner, to);
    } else {
      // From one input to the next of an output, and where an output begins.
      const [step, next] = this.#packing === "row" ? [1, padded * taps] : [PANEL, 1];
      for (let row = 0; row < rows; row++)
        for (let tap = 0; tap < taps; tap++) {
          let to = row * next + tap * padded * step;
          for (let from = at + row * width + tap, end = from + width - tap; from < end; from += taps, to += step) block[to] = source[from]!;
        }
    }
    return block;
  }
}

// The hot loops of loading. Eight rows are read at once, two halves in a word, and the results lie side by side: three times as fast
// as element by element, and no more rows than a cache's set has places for, since rows are often a power of two apart.

/** Rows `first` … `first + 7` of 16 rows of f16, `inner` long, into their places in a panel. */
function interleaveHalves(s: Uint32Array, first: number, inner: number, to: Uint32Array): void {
  const n = inner / 2;
  const r0 = first * n,
    r1 = r0 + n,
    r2 = r1 + n,
    r3 = r2 + n,
    r4 = r3 + n,
    r5 = r4 + n,
    r6 = r5 + n,
    r7 = r6 + n;
  for (let i = 0, w = first / 2; i < n; i++, w += 16) {
    const a = s[r0 + i]!,
      b = s[r1 + i]!,
      c = s[r2 + i]!,
      d = s[r3 + i]!,
      e = s[r4 + i]!,
      f = s[r5 + i]!,
      g = s[r6 + i]!,
      h = s[r7 + i]!;
    to[w] = (a & 0xffff) | (b << 16);
    to[w + 1] = (c & 0xffff) | (d << 16);
    to[w + 2] = (e & 0xffff) | (f << 16);
    to[w + 3] = (g & 0xffff) | (h << 16);
    to[w + 8] = (a >>> 16) | (b & 0xffff0000);
    to[w + 9] = (c >>> 16) | (d & 0xffff0000);
    to[w + 10] = (e >>> 16) | (f & 0xffff0000);
    to[w + 11] = (g >>> 16) | (h & 0xffff0000);
  }
}

/** The same for f32, as words, so that a NaN keeps its bits. */
function interleaveWords(s: Uint32Array, first: number, n: number, to: Uint32Array): void {
  const r0 = first * n,
    r1 = r0 + n,
    r2 = r1 + n,
    r3 = r2 + n,
    r4 = r3 + n,
    r5 = r4 + n,
    r6 = r5 + n,
    r7 = r6 + n;
  for (let i = 0, w = first; i < n; i++, w += 16) {
    to[w] = s[r0 + i]!;
    to[w + 1] = s[r1 + i]!;
    to[w + 2] = s[r2 + i]!;
    to[w + 3] = s[r3 + i]!;
    to[w + 4] = s[r4 + i]!;
    to[w + 5] = s[r5 + i]!;
    to[w + 6] = s[r6 + i]!;
    to[w + 7] = s[r7 + i]!;
  }
}
