/**
 * What is computed of every frame, by the WebAssembly of wasm/pixels.ts: here is what lies where in its memory. Arguments are copied into
 * it and results out of it, some tens of kilobytes, so that one module serves all films of a process or page, and nothing of them stays.
 */
import { wasm } from "../../build/pixels.ts";
import { CogwheelError } from "../base/errors.ts";

/** Functions of wasm/pixels.ts: addresses, and numbers. */
interface PixelFunctions {
  readonly memory: WebAssembly.Memory;
  fromSamples(y: number, u: number, v: number, lumaGain: number, black: number, chromaGain: number, out: number, plane: number): void;
  fromRgb(r: number, g: number, b: number, out: number, plane: number): void;
  difference(a: number, b: number, count: number): number;
  hueDifference(a: number, b: number, count: number): number;
  laplacian(row: number, stride: number, width: number, isWide: boolean, sums: number): void;
  shrink(luma: number, width: number, height: number, square: number): void;
  lowest(square: number, cosines: number, rows: number, low: number): void;
  parts(square: number, out: number): void;
  widen(from: number, to: number, count: number): void;
  halve(from: number, fromWidth: number, to: number, width: number, height: number): void;
  flow(
    before: number,
    after: number,
    width: number,
    height: number,
    columns: number,
    rows: number,
    across: number,
    down: number,
    gradients: number,
    coarserAcross: number,
    coarserDown: number,
    coarserColumns: number,
    coarserRows: number,
  ): void;
}

/** Rows and columns of samples: whole 8-bit ones, or 16 bits of which at most 12 are used. */
export interface SampleRows {
  readonly data: Uint8Array | Uint16Array;
  readonly offset: number;
  readonly stride: number;
  readonly width: number;
  readonly height: number;
}

/** A size of the picture in which motion is sought, and its blocks. */
export interface MotionLevel {
  readonly width: number;
  readonly height: number;
  readonly columns: number;
  readonly rows: number;
}

const SIDE = 32;
const LOW = 8;
/** cos((2x + 1) u π / 64) for u of 0 … 7, x after x. */
const COSINES = Float64Array.from({ length: SIDE * LOW }, (_, i) =>
  Math.fround(Math.cos(((2 * Math.floor(i / LOW) + 1) * (i % LOW) * Math.PI) / (2 * SIDE))),
);
const ALIGNMENT = 16;
/** Rows of a picture that are in memory at once. */
const BAND = 48;

const aligned = (bytes: number): number => ALIGNMENT * Math.ceil(bytes / ALIGNMENT);
/** Values of a plane, up to a whole vector of four. */
export const planeLength = (pixels: number): number => 4 * Math.ceil(pixels / 4);

export class Pixels {
  readonly #functions: PixelFunctions;
  #bytes: Uint8Array;
  #end = ALIGNMENT;
  readonly #cosines: number;
  readonly #first: number;

  constructor(functions: PixelFunctions) {
    this.#functions = functions;
    this.#bytes = new Uint8Array(functions.memory.buffer);
    this.#cosines = this.#room(COSINES.byteLength);
    this.#bytes.set(new Uint8Array(COSINES.buffer), this.#cosines);
    this.#first = this.#end;
  }

  /** Room behind what was asked for since {@link #begin}. Views of the memory are made after all of it was. */
  #room(bytes: number): number {
    const at = this.#end;
    this.#end += aligned(bytes);
    const { memory } = this.#functions;
    const missing = this.#end + ALIGNMENT - memory.buffer.byteLength;
    if (missing > 0) {
      memory.grow(Math.ceil(missing / 2 ** 16));
      this.#bytes = new Uint8Array(memory.buffer);
    }
    return at;
  }

  #begin(): void {
    this.#end = this.#first;
  }

  /** Three planes to fill, for {@link fromSamples} or {@link fromRgb}, which is called next. */
  planes(pixels: number): readonly [Int16Array, Int16Array, Int16Array] {
    const bytes = 2 * planeLength(pixels);
    this.#begin();
    const [a, b, c] = [this.#room(bytes), this.#room(bytes), this.#room(bytes)];
    this.#room(4 * planeLength(pixels));
    const { buffer } = this.#functions.memory;
    return [new Int16Array(buffer, a, pixels), new Int16Array(buffer, b, pixels), new Int16Array(buffer, c, pixels)];
  }

  /** Luma, hue, saturation and value, each of {@link planeLength}, of sums of luma and of chroma from −128 on. */
  fromSamples(pixels: number, lumaGain: number, black: number, chromaGain: number, out: Uint8Array): void {
    const [a, b, c, to, plane] = this.#placesOf(pixels);
    this.#functions.fromSamples(a, b, c, lumaGain, black, chromaGain, to, plane);
    out.set(this.#bytes.subarray(to, to + 4 * plane));
  }

  /** The same of red, green and blue. */
  fromRgb(pixels: number, out: Uint8Array): void {
    const [a, b, c, to, plane] = this.#placesOf(pixels);
    this.#functions.fromRgb(a, b, c, to, plane);
    out.set(this.#bytes.subarray(to, to + 4 * plane));
  }

  #placesOf(pixels: number): [number, number, number, number, number] {
    const plane = planeLength(pixels);
    const bytes = aligned(2 * plane);
    return [this.#first, this.#first + bytes, this.#first + 2 * bytes, this.#first + 3 * bytes, plane];
  }

  /** Sums of absolute differences of two pictures' luma, hue (on its circle), saturation and value, which lie one after another. */
  differences(a: Uint8Array, b: Uint8Array, pixels: number): [luma: number, hue: number, saturation: number, value: number] {
    this.#begin();
    const [at, other] = [this.#room(a.length), this.#room(b.length)];
    this.#bytes.set(a, at);
    this.#bytes.set(b, other);
    const plane = planeLength(pixels);
    const { difference, hueDifference } = this.#functions;
    return [
      difference(at, other, pixels),
      hueDifference(at + plane, other + plane, pixels),
      difference(at + 2 * plane, other + 2 * plane, pixels),
      difference(at + 3 * plane, other + 3 * plane, pixels),
    ];
  }

  /** Of the Laplacians of every third row but a picture's edges: their sum, the sum of their squares, and how many they are. */
  laplacians({ data, offset, stride, width, height }: SampleRows): [sum: number, squares: number, count: number] {
    const size = data.BYTES_PER_ELEMENT;
    const bytes = new Uint8Array(data.buffer, data.byteOffset + size * offset);
    const pitch = size * stride;
    this.#begin();
    const sums = this.#room(16);
    const rows = this.#room((BAND + 2) * pitch);
    this.#bytes.fill(0, sums, sums + 16);
    let count = 0;
    for (let top = 1; top < height - 1; top += BAND) {
      const lines = Math.min(BAND, height - 1 - top);
      this.#bytes.set(bytes.subarray((top - 1) * pitch, (top + lines) * pitch + size * width), rows);
      for (let y = 0; y < lines; y += 3) {
        this.#functions.laplacian(rows + (y + 1) * pitch, pitch, width, size > 1, sums);
        count += Math.max(0, width - 2);
      }
    }
    const [sum, squares] = new Float64Array(this.#functions.memory.buffer, sums, 2);
    return [sum!, squares!, count];
  }

  /** A picture's lowest 8 × 8 frequencies, and the mean luma of its 8 × 8 parts, which is written to `parts`. */
  frequencies(luma: Uint8Array, width: number, height: number, parts: Uint8Array): Float64Array {
    this.#begin();
    const [at, square] = [this.#room(luma.length), this.#room(4 * SIDE * SIDE)];
    const [rows, low, means] = [this.#room(4 * SIDE * LOW), this.#room(8 * LOW * LOW), this.#room(LOW * LOW)];
    this.#bytes.set(luma, at);
    const { shrink, lowest, parts: partsOf, memory } = this.#functions;
    shrink(at, width, height, square);
    lowest(square, this.#cosines, rows, low);
    partsOf(square, means);
    parts.set(this.#bytes.subarray(means, means + LOW * LOW));
    return new Float64Array(memory.buffer, low, LOW * LOW).slice();
  }

  /**
   * The flow of each block from one picture's luma to another's, in pixels.
   * @param levels from the finest on, each of half the size
   */
  flow(before: Uint8Array, after: Uint8Array, levels: readonly MotionLevel[]): { across: Float32Array; down: Float32Array } {
    this.#begin();
    const { widen, halve, flow, memory } = this.#functions;
    const placed = levels.map(({ width, height, columns, rows }) => {
      const [picture, blocks] = [4 * width * height, 4 * columns * rows];
      return {
        width,
        height,
        columns,
        rows,
        before: this.#room(picture),
        after: this.#room(picture),
        across: this.#room(blocks),
        down: this.#room(blocks),
      };
    });
    const gradients = this.#room(8 * (2 * 64 + 1));
    const finest = placed[0]!;
    const count = finest.width * finest.height;
    const luma = this.#room(count);
    for (const when of ["before", "after"] as const) {
      this.#bytes.set((when === "before" ? before : after).subarray(0, count), luma);
      widen(luma, finest[when], count);
      for (const [i, level] of placed.entries())
        if (i > 0) halve(placed[i - 1]![when], placed[i - 1]!.width, level[when], level.width, level.height);
    }
    for (let i = placed.length - 1; i >= 0; i--) {
      const { width, height, columns, rows, across, down, ...at } = placed[i]!;
      const from = placed[i + 1];
      const coarser = [from?.across ?? 0, from?.down ?? 0, from?.columns ?? 0, from?.rows ?? 0] as const;
      flow(at.before, at.after, width, height, columns, rows, across, down, gradients, ...coarser);
    }
    const blocks = finest.columns * finest.rows;
    const values = (at: number): Float32Array => new Float32Array(memory.buffer, at, blocks).slice();
    return { across: values(finest.across), down: values(finest.down) };
  }
}

let opening: Promise<Pixels> | undefined;

/** One for the whole process or page. Throws a CogwheelError where WebAssembly has no vectors. */
export function openPixels(): Promise<Pixels> {
  return (opening ??= open());
}

async function open(): Promise<Pixels> {
  try {
    const { instance } = await WebAssembly.instantiate(Uint8Array.from(atob(wasm), (character) => character.charCodeAt(0)));
    return new Pixels(instance.exports as unknown as PixelFunctions);
  } catch (error) {
    throw new CogwheelError(
      "data",
      `films are measured by WebAssembly with vectors, got ${(error as Error).message}; ` +
        "use a browser of 2023 or later, and allow 'wasm-unsafe-eval' where a page's content security policy names script-src",
      { cause: error },
    );
  }
}
