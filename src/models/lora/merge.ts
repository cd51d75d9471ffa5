/**
 * LoRA: a weight's low-rank change, W + scale · (alpha / rank) · up · down (Hu et al. 2021, arXiv:2106.09685). Adapters are
 * merged when a weight is read (`withLoras`), or kept beside the weights and added while the model runs (`LoraWeights`).
 * Which changes a file's tensors are `changes.ts` tells.
 */
import { toFloat16 } from "../../files/convert.ts";
import type { DType } from "../../graph/dtype.ts";
import type { WeightValues } from "../../graph/packing.ts";
import { weightParts, type WeightProvider } from "../../run/weight-provider.ts";

export interface LoraTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

export interface LoraAdapter {
  readonly tensors: ReadonlyMap<string, LoraTensor>;
  /** Multiplies the change; 1 is what the adapter was trained for. */
  readonly scale: number;
  /** What errors call it. */
  readonly label?: string;
  /**
   * PEFT's config of the adapter, where it comes with one: the fields of its LoraConfig,
   * with PEFT's defaults for those that are missing.
   */
  readonly config?: Readonly<Record<string, unknown>>;
}

/** The change of one weight by one adapter. */
export interface LoraChange {
  /** [out, rank] */
  readonly up: Float32Array;
  /** [rank, in] */
  readonly down: Float32Array;
  readonly rank: number;
  /** scale · alpha / rank, or alpha / √rank with rsLoRA. */
  readonly factor: number;
}

/** The shape of a weight of the model, if there is one of that name. */
export type ShapeOf = (weight: string) => readonly number[] | undefined;

/** Values that are merged and converted at once. */
const MERGED = 1 << 17;

/** `provider` with the adapters merged into the weights they name, in f32, before any conversion; in parts, as they come. */
export function withLoras<P extends WeightProvider>(provider: P, changes: ReadonlyMap<string, readonly LoraChange[]>): WeightProvider {
  async function* parts(name: string, dtype: DType, signal?: AbortSignal): AsyncGenerator<WeightValues> {
    const mine = changes.get(name);
    if (!mine) return yield* weightParts(provider, name, dtype, signal);
    let merged: Float32Array<ArrayBuffer> | undefined;
    let halves: Uint16Array<ArrayBuffer> | undefined;
    let at = 0;
    for await (const values of weightParts(provider, name, "f32", signal))
      for (let from = 0; from < values.length; from += MERGED) {
        const some = values.subarray(from, from + MERGED);
        if (!merged || merged.length < some.length) merged = new Float32Array(some.length);
        const part = merged.subarray(0, some.length);
        part.set(some);
        for (const change of mine) addProduct(part, at, change);
        at += part.length;
        if (dtype !== "f16") yield part;
        else {
          if (!halves || halves.length < part.length) halves = new Uint16Array(part.length);
          yield toFloat16(new Uint8Array(part.buffer, 0, part.byteLength), "F32", halves.subarray(0, part.length));
        }
      }
  }
  return {
    type: (name) => provider.type(name),
    parts,
    async read(name, dtype, signal) {
      if (!changes.has(name)) return provider.read(name, dtype, signal);
      const whole: WeightValues[] = [];
      for await (const part of parts(name, dtype, signal)) whole.push(part.slice());
      const out = new (dtype === "f16" ? Uint16Array : Float32Array)(whole.reduce((sum, part) => sum + part.length, 0));
      whole.reduce((to, part) => (out.set(part, to), to + part.length), 0);
      return out;
    },
  };
}

/** into += factor · up [out, rank] · down [rank, in], of whose values, row-major, `into` holds those from `start` on. */
function addProduct(into: Float32Array, start: number, { up, down, rank, factor }: LoraChange): void {
  const inner = down.length / rank;
  for (let at = 0; at < into.length; ) {
    const o = Math.floor((start + at) / inner);
    const column = (start + at) % inner;
    const row = into.subarray(at, at + inner - column);
    for (let r = 0; r < rank; r++) {
      const f = factor * up[o * rank + r]!;
      for (let i = 0, from = r * inner + column; i < row.length; i++, from++) row[i]! += f * down[from]!;
    }
    at += row.length;
  }
}

/** Adapters beside the weights of a model: for each matrix, stacked matrices and a factor a row. */
export class LoraWeights {
  readonly #changes: ReadonlyMap<string, readonly LoraChange[]>;
  readonly #shapeOf: ShapeOf;

  constructor(changes: ReadonlyMap<string, readonly LoraChange[]>, shapeOf: ShapeOf) {
    this.#changes = changes;
    this.#shapeOf = shapeOf;
  }

  /** Rows of all adapters on a weight, padded to a multiple of 4; 0 where there are none. */
  rank(weight: string): number {
    return Math.ceil(this.#of(weight).reduce((sum, { rank }) => sum + rank, 0) / 4) * 4;
  }

  /** [rank]: what each row is multiplied with. */
  factors(weight: string): Float32Array {
    const out = new Float32Array(this.rank(weight));
    let at = 0;
    for (const { rank, factor } of this.#of(weight)) {
      out.fill(factor, at, at + rank);
      at += rank;
    }
    return out;
  }

  #of(weight: string): readonly LoraChange[] {
    return this.#changes.get(weight) ?? [];
  }

  /** Do both hold the same matrices on the same weights, so that only factors differ? */
  sameMatrices(other: LoraWeights | undefined): boolean {
    if (!other || this.#changes.size !== other.#changes.size) return false;
    return [...this.#changes].every(([weight, list]) => {
      const theirs = other.#changes.get(weight);
      return theirs?.length === list.length && list.every(({ up, down }, i) => up === theirs[i]!.up && down === theirs[i]!.down);
    });
  }

  /** `provider` with the stacked matrices under the names that `loraName` gives. */
  provider(provider: WeightProvider): WeightProvider {
    return {
      type: (name): DType => (parseLoraName(name) ? "f32" : provider.type(name)),
      read: async (name, dtype, signal) => {
        const lora = parseLoraName(name);
        if (!lora) return provider.read(name, dtype, signal);
        return lora.part === "down" ? this.#down(lora.weight) : this.#up(lora.weight);
      },
      async *parts(name, dtype, signal) {
        if (isLoraName(name)) yield await this.read(name, dtype, signal);
        else yield* weightParts(provider, name, dtype, signal);
      },
    };
  }

  #down(weight: string): Float32Array {
    const [first] = this.#of(weight);
    const out = new Float32Array(this.rank(weight) * (first!.down.length / first!.rank));
    let at = 0;
    for (const { down } of this.#of(weight)) {
      out.set(down, at);
      at += down.length;
    }
    return out;
  }

  /** [out, rank] */
  #up(weight: string): Float32Array {
    const rank = this.rank(weight);
    const outs = this.#shapeOf(weight)![0]!;
    const all = new Float32Array(outs * rank);
    let column = 0;
    for (const change of this.#of(weight)) {
      for (let o = 0; o < outs; o++) all.set(change.up.subarray(o * change.rank, (o + 1) * change.rank), o * rank + column);
      column += change.rank;
    }
    return all;
  }
}

/** Name of a stacked matrix: `down` [rank, in] or `up` [out, rank]. */
export const loraName = (part: "down" | "up", weight: string): string => `lora.${part}:${weight}`;
export const isLoraName = (name: string): boolean => parseLoraName(name) !== undefined;
function parseLoraName(name: string): { part: "down" | "up"; weight: string } | undefined {
  const [, part, weight] = /^lora\.(down|up):(.+)$/.exec(name) ?? [];
  return part ? { part: part as "down" | "up", weight: weight! } : undefined;
}
