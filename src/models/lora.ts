/**
 * LoRA: a weight's low-rank change, W + scale · (alpha / rank) · up · down (Hu et al. 2021, arXiv:2106.09685). Adapters are
 * merged when a weight is read (`withLoras`), or kept beside the weights and added while the model runs (`LoraWeights`).
 * `lora-keys.ts` reads the names of an adapter's tensors, `lora-config.ts` what PEFT's config says of them.
 */
import { toFloat16 } from "../checkpoint/convert.ts";
import { CogwheelError } from "../errors.ts";
import type { DType } from "../graph/graph.ts";
import type { WeightValues } from "../graph/packing.ts";
import { weightParts, type WeightProvider } from "../graph/weights.ts";
import { readLoraConfig } from "./lora-config.ts";
import { parseLoraKey, unsupportedKey } from "./lora-keys.ts";

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
  /** PEFT's config of the adapter, where it comes with one: the fields of its LoraConfig, with PEFT's defaults for those that are missing. */
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

/** The matrices of one module, as they are found in a file. */
interface Found {
  readonly path: string;
  readonly sat: boolean;
  down?: [key: string, tensor: LoraTensor];
  up?: [key: string, tensor: LoraTensor];
  alpha?: [key: string, tensor: LoraTensor];
}

type Fail = (rule: string) => never;

/**
 * The changes that adapters make, by weight. Throws for a key that names no weight of the model, for a pair that is not whole or
 * does not fit its weight, and for what would be left out or done wrongly without a word (DoRA, biases, text encoders, a base that
 * the training changed: see `readLoraConfig`).
 * @param weights names of the model's weights
 */
export function loraChanges(adapters: readonly LoraAdapter[], weights: Iterable<string>, shapeOf: ShapeOf): Map<string, LoraChange[]> {
  const names = [...weights].filter((name) => name.endsWith(".weight")).map((name) => name.slice(0, -".weight".length));
  const modules = new Map(names.map((name) => [name.replaceAll(".", "_"), name]));
  const changes = new Map<string, LoraChange[]>();
  for (const [i, adapter] of adapters.entries()) {
    const { label = `adapter ${i + 1}` } = adapter;
    const fail: Fail = (rule) => {
      throw new CogwheelError("lora", `${label}: ${rule}`);
    };
    if (!Number.isFinite(adapter.scale)) fail(`the scale must be a finite number, got ${adapter.scale}`);
    const config = adapter.config && readLoraConfig(adapter.config, label);
    for (const [module, found] of findPairs(adapter.tensors, modules, shapeOf, fail)) {
      const weight = `${module}.weight`;
      const shape = shapeOf(weight)!;
      const { up, down, rank } = wholePair(module, found, shape, fail);
      const left = config?.leavesOut(found.path, shape.length === 2);
      if (left !== undefined) fail(`the config's ${left} must name what the file holds, got ${down[0]}, which PEFT would not load; correct the config, or save the adapter again`);
      if (config && config.rank(found.path) !== rank) fail(`r and rank_pattern of the config must be the rank of the matrices, got ${config.rank(found.path)} for ${down[0]} [${down[1].shape.join(", ")}]; config and file belong to different adapters`);
      const alpha = alphaOf(module, found, config?.alpha(found.path), rank, fail);
      const factor = (adapter.scale * alpha) / (config?.rslora ? Math.sqrt(rank) : rank);
      if (!Number.isFinite(factor)) fail(`scale · alpha of ${module} must be a finite number, got ${adapter.scale} · ${alpha}; give another scale`);
      changes.set(weight, [...(changes.get(weight) ?? []), { up: up[1].data, down: down[1].data, rank, factor }]);
    }
  }
  return changes;
}

/** What a file holds, by module. */
function findPairs(tensors: LoraAdapter["tensors"], modules: ReadonlyMap<string, string>, shapeOf: ShapeOf, fail: Fail): Map<string, Found> {
  const all = new Map<string, Found>();
  for (const [key, tensor] of tensors) {
    const unsupported = unsupportedKey(key, (name) => shapeOf(name) !== undefined);
    if (unsupported !== undefined) fail(`keys must be those of a plain LoRA of the transformer, got ${key}; ${unsupported}`);
    const target = parseLoraKey(key, modules) ?? fail(`keys must be those of a LoRA (see docs/lora.md), got ${key}; this is no adapter, or it changes what is not supported`);
    const { module, part, path, sat } = target;
    if (shapeOf(`${module}.weight`) === undefined) fail(`an adapter must change weights of this model, got ${key}, which would be ${module}.weight; it was trained for another one`);
    const found = all.get(module) ?? { path, sat };
    const before = found[part];
    if (before) fail(`a module's matrices may stand once, got ${before[0]} and ${key}; the file is damaged or holds two adapters`);
    found[part] = [key, tensor];
    all.set(module, found);
  }
  if (all.size === 0) fail("an adapter must hold at least one pair of matrices, got none; is this the right file?");
  return all;
}

/** Both matrices, which must fit each other and the weight. */
function wholePair(module: string, { down, up, alpha }: Found, shape: readonly number[], fail: Fail): { down: [string, LoraTensor]; up: [string, LoraTensor]; rank: number } {
  if (!down && !up) fail(`${alpha![0]} needs its matrices, got none; the file is incomplete`);
  const [key, one] = (down ?? up)!;
  if (!down || !up) return fail(`${key} [${one.shape.join(", ")}] needs its counterpart, got none; the file is incomplete`);
  const rank = down[1].shape[0] ?? 0;
  const out = up[1].shape[0] ?? 0;
  if (rank < 1 || up[1].data.length !== out * rank) fail(`${down[0]} and ${up[0]} must share a rank, got [${down[1].shape.join(", ")}] and [${up[1].shape.join(", ")}]; the file is damaged`);
  // A convolution's adapter has a kernel of the convolution's size, then one of 1; some trainers flatten them, or write a Linear's with kernels of 1.
  const inner = down[1].shape.slice(1);
  const wanted = shape.slice(1);
  const flat = [wanted.reduce((a, b) => a * b, 1)];
  const fits = [wanted, flat].some((want) => inner.filter((n) => n !== 1).join() === want.filter((n) => n !== 1).join());
  if (out !== shape[0] || !fits) fail(`${key} must change ${module}.weight [${shape.join(", ")}], got a change of [${[out, ...inner].join(", ")}]; the adapter was trained for another model`);
  for (const [name, { data }] of [down, up]) if (!data.every(Number.isFinite)) fail(`${name} must hold finite numbers, got others; the file is damaged`);
  return { down, up, rank };
}

/** The tensor `alpha`, which no config may contradict; what a config says; 1 for the authors' own keys; else the rank. */
function alphaOf(module: string, { alpha, sat }: Found, configured: number | undefined, rank: number, fail: Fail): number {
  if (!alpha) return configured ?? (sat ? 1 : rank);
  const [key, { data, shape }] = alpha;
  if (data.length !== 1) fail(`${key} must be one number, got [${shape.join(", ")}]; the file is damaged`);
  if (!Number.isFinite(data[0])) fail(`alpha of ${module} must be a finite number, got ${data[0]}; the file is damaged`);
  if (configured !== undefined && Math.fround(configured) !== Math.fround(data[0]!)) fail(`${key} and the config's lora_alpha must be equal, got ${data[0]} and ${configured}; remove the one that is wrong`);
  return data[0]!;
}

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
    for await (const values of weightParts(provider, name, "f32", signal)) for (let from = 0; from < values.length; from += MERGED) {
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
