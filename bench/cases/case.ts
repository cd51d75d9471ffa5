/**
 * A case is data: what is computed, at which sizes, on which values. Every contender (this engine and each peer, a process
 * of its own) builds it in its own way from the same record, so what is compared is the same work.
 */

/** Repeatable values: mulberry32 from `seed`, in −scale…scale, plus `offset`. Python's contender draws the same. */
export interface TensorSpec {
  readonly shape: readonly number[];
  readonly seed: number;
  /** Default 1. */
  readonly scale?: number;
  /** Default 0. */
  readonly offset?: number;
}

export type Level = "op" | "block" | "model" | "pipeline";

export interface BenchCase<K extends string = string, S extends object = object> {
  /** What is typed to choose it, and the row's title. */
  readonly name: string;
  readonly level: Level;
  /** Which builder of a contender makes it; `sizes` are its parameters. */
  readonly kind: K;
  readonly sizes: S;
  /** In the reference implementation's layouts (channels first, Linear [out, in]). */
  readonly inputs: Readonly<Record<string, TensorSpec>>;
  readonly weights: Readonly<Record<string, TensorSpec>>;
  /** Shape of the result, in the reference's layout. */
  readonly output: readonly number[];
  /** Largest relative L2 between two contenders' results. */
  readonly tolerance: number;
  readonly target?: Target;
}

/** A figure to reach. Ratios are against ONNX Runtime's WebGPU on lavapipe, shares of a ceiling of the same run. */
export interface Target {
  readonly ratio: number;
  readonly stretch?: number;
  /** Which ceiling, and the share of it by adapter. */
  readonly ceiling?: "multiply-add" | "copy";
  readonly share?: { readonly lavapipe: number; readonly stretch?: number; readonly swiftshader?: number };
}

export function draw({ shape, seed, scale = 1, offset = 0 }: TensorSpec): Float32Array {
  let state = seed >>> 0;
  const out = new Float32Array(shape.reduce((a, b) => a * b, 1));
  for (let i = 0; i < out.length; i++) {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    out[i] = scale * (((t ^ (t >>> 14)) >>> 0) / 2147483648 - 1) + offset;
  }
  return out;
}

/** `data` of `shape` with its axes in the order `axes`. */
export function permute(data: Float32Array, shape: readonly number[], axes: readonly number[]): Float32Array {
  const strides = shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));
  const to = axes.map((a) => shape[a]!);
  const step = axes.map((a) => strides[a]!);
  const out = new Float32Array(data.length);
  const at = to.map(() => 0);
  for (let i = 0, from = 0; i < out.length; i++) {
    out[i] = data[from]!;
    for (let axis = to.length - 1; axis >= 0; axis--) {
      from += step[axis]!;
      if (++at[axis]! < to[axis]!) break;
      from -= step[axis]! * to[axis]!;
      at[axis] = 0;
    }
  }
  return out;
}

export function relativeL2(got: Float32Array, want: Float32Array): number {
  if (got.length !== want.length) return Infinity;
  let error = 0,
    norm = 0;
  for (let i = 0; i < want.length; i++) {
    error += (got[i]! - want[i]!) ** 2;
    norm += want[i]! ** 2;
  }
  return Math.sqrt(error) / Math.max(Math.sqrt(norm), 1e-30);
}

/** Is this a case of the ops' own lists, which no peer builds? */
export const listedOnly = (c: BenchCase): boolean => c.kind === "listed";
