/**
 * Draws the tensors of a case while it records its op, and keeps their values as they are stored: with f16 storage a drawn value is
 * rounded first, so that what is measured is the kernel and not the rounding of its input.
 */
import { f16ToNumber } from "../../base/half.ts";
import { toFloat16 } from "../../files/convert.ts";
import { dequantize, quantize } from "../../files/quantize.ts";
import { type DType, elements } from "../../graph/dtype.ts";
import type { Graph } from "../../graph/graph.ts";
import { padTo } from "../../graph/packing.ts";
import type { Format, StoredWeight } from "../../graph/stored.ts";
import type { Tensor, TensorRole } from "../../graph/tensor.ts";
import { storedValues, type WeightProvider } from "../../run/weight-provider.ts";

/** How what a model may store in f16 is stored. */
export type Precision = "f32" | "f16";

/** The values of a case's tensors by name, as they are stored, without padding. */
export type Values = Readonly<Record<string, Float32Array>>;

export interface DrawOptions {
  /** Values lie in offset ± scale. Default 1. */
  scale?: number;
  /** Default 0. */
  offset?: number;
  /** Given values in place of drawn ones. */
  data?: ArrayLike<number>;
}

/** A tensor that a case draws; `data` draws it, f16 as raw bits. */
export interface Drawn {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly data: () => Stored;
}
type Stored = Float32Array | Uint16Array | Uint32Array;

/** Draws a case's tensors while it is recorded, and keeps their values. */
export class Draw {
  readonly values: Record<string, Float32Array> = {};
  /** By input name, as they are uploaded. */
  readonly inputs: Record<string, Stored> = {};
  readonly #weights = new Map<string, Float32Array | Uint16Array>();
  readonly #formats = new Map<string, Format>();
  readonly #stored = new Map<string, StoredWeight>();
  readonly #pending: (() => void)[] = [];

  constructor(
    readonly graph: Graph,
    readonly precision: Precision,
    private readonly half?: readonly string[],
  ) {}

  /** How a tensor is stored: f16 with f16 storage, unless the case's `half` leaves it out. */
  type(name: string): Precision {
    return this.precision === "f16" && (!this.half || this.half.includes(name)) ? "f16" : "f32";
  }

  /** Makes the tensor, in the role that the case draws it in. */
  protected place(role: TensorRole, { name, shape, dtype, data }: Drawn): Tensor {
    if (role === "constant") return this.graph.constant(name, data() as Float32Array | Uint32Array, shape);
    if (role === "weight") {
      this.#pending.push(() => void this.#weights.set(name, data() as Float32Array | Uint16Array));
      return this.graph.weight(name, shape, dtype);
    }
    this.#pending.push(() => void (this.inputs[name] = data()));
    return this.graph.input(name, shape, dtype);
  }

  /** An input of the graph, stored as `dtype`. */
  input(name: string, shape: readonly number[], { dtype = this.type(name), ...options }: DrawOptions & { dtype?: Precision } = {}): Tensor {
    return this.place("input", { name, shape, dtype, data: () => this.#store(name, elements(shape), dtype, options) });
  }

  /** Always f32: biases, residuals, norms. */
  input32(name: string, shape: readonly number[], options: DrawOptions = {}): Tensor {
    return this.input(name, shape, { ...options, dtype: "f32" });
  }

  /** A video [B, T, H, W, C] whose channels are padded with zeros to a multiple of 4. */
  video(name: string, shape: readonly number[], { dtype = this.type(name), ...options }: DrawOptions & { dtype?: Precision } = {}): Tensor {
    const channels = shape.at(-1)!;
    return this.place("input", {
      name,
      shape: [...shape.slice(0, -1), padTo(channels, 4)],
      dtype,
      data: () => padChannels(this.#store(name, elements(shape), dtype, options), channels),
    });
  }

  weight(
    name: string,
    shape: readonly number[],
    { dtype = this.type(name), ...options }: DrawOptions & { dtype?: Precision } = {},
  ): Tensor {
    return this.place("weight", { name, shape, dtype, data: () => this.#store(name, elements(shape), dtype, options) });
  }

  /**
   * A matrix that is stored in blocks of 8 bits a value, of the values that a case finds; what a kernel reads of them is of type
   * `this.type(name)`. It has no other role.
   */
  storedWeight(name: string, shape: readonly number[], format: "q8_0", { scale = 1 }: Pick<DrawOptions, "scale"> = {}): Tensor {
    this.#formats.set(name, format);
    this.#pending.push(() => {
      const blocks = quantize(drawn(elements(shape), seedOf(name), scale), format);
      this.values[name] = dequantize(blocks, format);
      const read = async (start: number, into: Uint8Array) => into.set(blocks.subarray(start, start + into.length));
      this.#stored.set(name, { label: name, shape, format, read });
    });
    return this.graph.weight(name, shape, this.type(name));
  }

  /** How weights are stored, for a plan. */
  readonly formats = ({ names }: { readonly names: readonly string[] }): Format | null => this.#formats.get(names.join("+")) ?? null;

  /** A weight that is always f32: biases, norms. */
  vector(name: string, shape: readonly number[], options: DrawOptions = {}): Tensor {
    return this.weight(name, shape, { ...options, dtype: "f32" });
  }

  /** Rows of another tensor, known when recording or given as an input. */
  rows(name: string, rows: Uint32Array, role: "constant" | "input" = "constant"): Tensor {
    return this.place(role, { name, shape: [rows.length], dtype: "u32", data: () => rows });
  }

  /** Draws what was recorded; a case that is only planned draws nothing. */
  fill(): void {
    for (const draw of this.#pending.splice(0)) draw();
  }

  #store(name: string, count: number, dtype: DType, { scale = 1, offset = 0, data }: DrawOptions): Float32Array | Uint16Array {
    const exact = data ? Float32Array.from(data) : drawn(count, seedOf(name), scale).map((v) => v + offset);
    if (dtype !== "f16") return (this.values[name] = exact);
    const bits = toFloat16(new Uint8Array(exact.buffer), "F32");
    this.values[name] = Float32Array.from(bits, f16ToNumber);
    return bits;
  }

  /** The drawn weights, as a program reads them. */
  get provider(): WeightProvider {
    return {
      type: () => "f32",
      stored: (name) => this.#stored.get(name) ?? storedValues(name, this.#weights.get(name)!),
    };
  }
}

/** Repeatable values in ±scale (mulberry32). */
export function drawn(count: number, seed: number, scale = 1): Float32Array {
  let state = seed >>> 0;
  const out = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    out[i] = scale * (((t ^ (t >>> 14)) >>> 0) / 2147483648 - 1);
  }
  return out;
}

const seedOf = (name: string): number => [...name].reduce((h, c) => Math.imul(h ^ c.charCodeAt(0), 0x01000193) >>> 0, 0x811c9dc5);

/** Rows of `channels` values → rows padded with zeros to a multiple of 4. */
export function padChannels<T extends Float32Array | Float64Array | Uint16Array>(data: T, channels: number): T {
  const padded = padTo(channels, 4);
  if (padded === channels) return data;
  const rows = data.length / channels;
  const out = new (data.constructor as new (n: number) => T)(rows * padded);
  for (let r = 0; r < rows; r++) for (let c = 0; c < channels; c++) out[r * padded + c] = data[r * channels + c]!;
  return out;
}
