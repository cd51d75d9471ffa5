/**
 * LoRA: a weight's low-rank change, W + scale · (alpha / rank) · up · down (Hu et al. 2021, arXiv:2106.09685). Adapters are
 * merged when a weight is loaded (`withLoras`), or kept beside the weights and added while the model runs (`LoraWeights`).
 * Which changes a file's tensors are `changes.ts` tells.
 */
import type { DType } from "../../graph/dtype.ts";
import { providerOf, storedValues, type WeightChange, type WeightProvider } from "../../run/weight-provider.ts";

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

/** The change of one weight by one adapter; its factor is scale · alpha / rank, or scale · alpha / √rank with rsLoRA. */
export type LoraChange = WeightChange;

/** The shape of a weight of the model, if there is one of that name. */
export type ShapeOf = (weight: string) => readonly number[] | undefined;

/** `provider` with the adapters' changes of the weights they name. */
export function withLoras(provider: WeightProvider, changes: ReadonlyMap<string, readonly LoraChange[]>): WeightProvider {
  return { ...providerOf(provider), changes: (name) => changes.get(name) ?? [] };
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
      stored: (name) => {
        const lora = parseLoraName(name);
        if (!lora) return provider.stored(name);
        return storedValues(name, lora.part === "down" ? this.#down(lora.weight) : this.#up(lora.weight));
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
