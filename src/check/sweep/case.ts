/**
 * One case list an op, in `cases/`, shared by the op's tests (tiny and odd; of matmul, attention and conv3d, whose kernels take
 * seconds to compile, the reference alone), the sweep (all) and the bench (model). A case records the op on tensors that it draws, and
 * says in float64 what must come out of the values as they are stored: with f16 storage a drawn value is rounded first, so that
 * what is measured is the kernel and not the rounding of its input.
 */
import { f16ToNumber, toFloat16 } from "../../files/convert.ts";
import type { Capabilities, CapabilityOverrides } from "../../gpu/capabilities.ts";
import type { Kernel } from "../../gpu/kernel.ts";
import { type DType, elements } from "../../graph/dtype.ts";
import type { Graph } from "../../graph/graph.ts";
import type { Tensor, TensorRole } from "../../graph/tensor.ts";
import { padTo } from "../../graph/packing.ts";
import type { WeightProvider } from "../../run/weight-store.ts";

/** tiny: the least there is · odd: tails of every tile · model: the widths of published models, few rows. */
export type Size = "tiny" | "odd" | "model";
export type Precision = "f32" | "f16";

export interface OpCase {
  readonly size: Size;
  /** Shapes and switches, unique in its list. */
  readonly name: string;
  /** Tensors that are f16 with f16 storage, by their drawn names; `y` is the result. Default: all that `record` asks about. */
  readonly half?: readonly string[];
  /** Limits that this case pretends to have: windows and folded grids on small tensors. */
  readonly limits?: CapabilityOverrides;
  /** Relative L2 where the list's does not do; say why in a comment. */
  readonly tolerance?: Readonly<Record<Precision, number>>;
  record(draw: Draw): Record<string, Tensor>;
  /** Every output, in float64 (plain numbers), in the layout of the engine. */
  reference(values: Values): Record<string, ArrayLike<number>>;
}

/** A kernel of an op, and what must hold for the engine to choose it. */
export interface KernelChoice {
  readonly kernel: Kernel;
  /** Capabilities under which the op's chooser takes it; whatever is not named is the adapter's own. */
  readonly when: CapabilityOverrides;
  /** What the adapter lacks to run it, such as `subgroups`; nothing where it can. */
  needs?(caps: Capabilities): string | undefined;
  /** Does it take this case? Default: all. */
  takes?(c: OpCase, caps: Capabilities, precision: Precision): boolean;
}

export interface OpCases {
  readonly op: string;
  readonly kernels: readonly KernelChoice[];
  /** Largest relative L2 of an output. */
  readonly tolerance: Readonly<Record<Precision, number>>;
  readonly cases: readonly OpCase[];
}

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
      read: async (name) => this.#weights.get(name)!,
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

const FOUR_LANES = "subgroups of 4 lanes or more";
/** CPU adapters' kernels that are chosen by how many lanes a subgroup has: `needs` of {@link KernelChoice}. */
export const fewerLanes = (caps: Capabilities): string | undefined =>
  caps.subgroups && caps.subgroups.min >= 4 && caps.subgroups.min < 8 ? undefined : "subgroups of 4 lanes";
export const eightLanes = (caps: Capabilities): string | undefined =>
  caps.subgroups && caps.subgroups.min >= 8 ? undefined : "subgroups of 8 lanes or more";

/** The kernels of an op that has one for CPU adapters and one for GPUs. */
export function cpuKernel(kernel: Kernel, rest: Partial<KernelChoice> = {}): KernelChoice {
  return {
    kernel,
    when: { kind: "software" },
    needs: (caps) => (caps.subgroups && caps.subgroups.min >= 4 ? undefined : FOUR_LANES),
    ...rest,
  };
}
export function gpuKernel(kernel: Kernel, rest: Partial<KernelChoice> = {}): KernelChoice {
  return { kernel, when: { kind: "hardware" }, ...rest };
}
/** A GPU's kernel for two matrices in f16. Others of the op are asked for as on adapters without subgroup matrices. */
export function matrixKernel(kernel: Kernel, rest: Pick<KernelChoice, "takes">): KernelChoice {
  return gpuKernel(kernel, { needs: (caps) => (caps.subgroupMatrices.length ? undefined : "subgroup matrices"), ...rest });
}
/** A GPU's kernel of an op that has one with subgroup matrices too. */
export function tiledKernel(kernel: Kernel): KernelChoice {
  return { kernel, when: { kind: "hardware", subgroupMatrices: [] } };
}
/** A kernel that serves both; its workgroup may be another on a CPU adapter. */
export function oneKernel(kernel: Kernel): KernelChoice[] {
  return [
    { kernel, when: { kind: "hardware" } },
    { kernel, when: { kind: "software" } },
  ];
}
