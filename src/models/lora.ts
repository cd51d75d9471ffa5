/**
 * LoRA: a weight's low-rank change, W + scale · (alpha / rank) · up · down (Hu et al. 2021, arXiv:2106.09685). Adapters are
 * merged when a weight is read (`withLoras`), or kept beside the weights and added while the model runs (`LoraWeights`).
 *
 * Key names that are read, for a module such as `transformer_blocks.0.attn1.to_q` (docs/lora.md is the table):
 *   [prefix.]module.lora_A.weight | .lora_A.<adapter>.weight | .lora_down.weight | .lora.down.weight, with B or up
 *   lora_unet_transformer_blocks_0_attn1_to_q.lora_down.weight (kohya, VideoX-Fun)
 *   [prefix.]layers.0.attention.query_key_value.matrix_A.0 (the authors' own, SAT)
 */
import { toFloat16 } from "../checkpoint/convert.ts";
import { CogwheelError } from "../errors.ts";
import type { DType } from "../graph/graph.ts";
import type { WeightProvider } from "../graph/weights.ts";

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
  /** PEFT's config of the adapter, where it comes with one: `r`, `lora_alpha`, `alpha_pattern`, `use_rslora` … */
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

interface Target { readonly module: string; readonly part: "down" | "up" | "alpha"; readonly sat: boolean }

const PREFIXES = /^(?:base_model\.model\.|model\.diffusion_model\.|diffusion_model\.|transformer\.|module\.)/;
const SAT_MODULES: Readonly<Record<string, readonly string[]>> = {
  "attention.query_key_value": ["attn1.to_q", "attn1.to_k", "attn1.to_v"], "attention.dense": ["attn1.to_out.0"],
  "mlp.dense_h_to_4h": ["ff.net.0.proj"], "mlp.dense_4h_to_h": ["ff.net.2"],
};

/** Which module of the model a key of an adapter's file is about; undefined for keys that are no part of a LoRA of the transformer. */
function targetOf(key: string, modules: ReadonlyMap<string, string>): Target | undefined {
  const sat = /(?:^|\.)layers\.(\d+)\.(attention\.query_key_value|attention\.dense|mlp\.dense_h_to_4h|mlp\.dense_4h_to_h)\.matrix_([AB])\.(\d)$/.exec(key);
  if (sat) {
    const part = SAT_MODULES[sat[2]!]![Number(sat[4])];
    return part === undefined ? undefined : { module: `transformer_blocks.${sat[1]}.${part}`, part: sat[3] === "A" ? "down" : "up", sat: true };
  }
  const [, path, a, b] = /^(.+?)\.(?:lora_([AB]|down|up)(?:\.[\w-]+)?\.weight|lora(?:_linear_layer)?\.(down|up)\.weight|alpha)$/.exec(key) ?? [];
  if (path === undefined) return undefined;
  const part = a === "A" || (a ?? b) === "down" ? "down" : a === "B" || (a ?? b) === "up" ? "up" : "alpha";
  const flat = /^lora_(?:unet|transformer)_+(.+)$/.exec(path)?.[1];
  if (flat !== undefined) return { module: modules.get(flat) ?? path, part, sat: false };
  let module = path;
  while (PREFIXES.test(module)) module = module.replace(PREFIXES, "");
  // Diffusers' first attention adapters: attn1.processor.to_q_lora.down.weight.
  module = module.replace(/\.processor\.(to_[qkv])_lora$/, ".$1").replace(/\.processor\.to_out_lora$/, ".to_out.0");
  return { module, part, sat: false };
}

/**
 * The changes that adapters make, by weight. Throws for a key that names no weight of the model, for a pair that is not whole or
 * does not fit its weight, and for what would be left out silently (DoRA, biases, text encoders).
 * @param weights names of the model's weights
 */
export function loraChanges(adapters: readonly LoraAdapter[], weights: Iterable<string>, shapeOf: ShapeOf): Map<string, LoraChange[]> {
  const names = [...weights].filter((name) => name.endsWith(".weight")).map((name) => name.slice(0, -".weight".length));
  const modules = new Map(names.map((name) => [name.replaceAll(".", "_"), name]));
  const changes = new Map<string, LoraChange[]>();
  for (const [i, { tensors, scale, label = `adapter ${i + 1}`, config }] of adapters.entries()) {
    const fail = (rule: string): never => {
      throw new CogwheelError("lora", `${label}: ${rule}`);
    };
    if (!Number.isFinite(scale)) fail(`the scale must be a finite number, got ${scale}`);
    if (config?.["use_dora"] === true) fail("use_dora must be false, got true; DoRA is not supported");
    const found = new Map<string, { down?: [string, LoraTensor]; up?: [string, LoraTensor]; alpha?: LoraTensor; sat: boolean }>();
    for (const [key, tensor] of tensors) {
      if (/dora_scale|lora_magnitude_vector/.test(key)) fail(`keys must be those of a plain LoRA, got ${key}; DoRA is not supported`);
      if (/^(?:text_encoder|lora_te)/.test(key)) fail(`keys must change the transformer, got ${key}; adapters of the text encoder are not supported`);
      const target = targetOf(key, modules) ?? fail(`keys must be those of a LoRA (see docs/lora.md), got ${key}; this is no adapter, or it changes what is not supported`);
      if (target.part !== "alpha" && shapeOf(`${target.module}.weight`) === undefined) fail(`an adapter must change weights of this model, got ${key}, which would be ${target.module}.weight; it was trained for another one`);
      const entry = found.get(target.module) ?? { sat: target.sat };
      const before = target.part === "alpha" ? entry.alpha && `${target.module}.alpha` : entry[target.part]?.[0];
      if (before !== undefined) fail(`a module's matrices may stand once, got ${before} and ${key}; the file is damaged`);
      found.set(target.module, target.part === "alpha" ? { ...entry, alpha: tensor } : { ...entry, [target.part]: [key, tensor] });
    }
    if (found.size === 0) fail("an adapter must hold at least one pair of matrices, got none; is this the right file?");
    for (const [module, { down, up, alpha, sat }] of found) {
      if (!down && !up) fail(`${module}.alpha needs its matrices, got none; the file is incomplete`);
      const [key, one] = (down ?? up)!;
      if (!down || !up) return fail(`${key} [${one.shape.join(", ")}] needs its counterpart, got none; the file is incomplete`);
      // Convolutions' adapters have kernels of the convolution's size, then of 1.
      const rank = down[1].shape[0] ?? 0;
      const [out, inner] = [up[1].shape[0] ?? 0, down[1].data.length / Math.max(1, rank)];
      const shape = shapeOf(`${module}.weight`)!;
      const [wantOut, wantIn] = [shape[0]!, shape.slice(1).reduce((a, b) => a * b, 1)];
      if (rank < 1 || up[1].data.length !== out * rank) fail(`${down[0]} and ${up[0]} must share a rank, got [${down[1].shape.join(", ")}] and [${up[1].shape.join(", ")}]; the file is damaged`);
      if (out !== wantOut || inner !== wantIn) fail(`${key} must change ${module}.weight [${shape.join(", ")}], got a change of [${out}, ${inner}]; the adapter was trained for another model`);
      if (alpha && alpha.data.length !== 1) fail(`alpha of ${module} must be one number, got [${alpha.shape.join(", ")}]; the file is damaged`);
      for (const [name, { data }] of [down, up]) if (!data.every(Number.isFinite)) fail(`${name} must hold finite numbers, got others; the file is damaged`);
      const a = alpha?.data[0] ?? configured(config, module) ?? (sat ? 1 : rank);
      const factor = (scale * a) / (config?.["use_rslora"] === true ? Math.sqrt(rank) : rank);
      if (!Number.isFinite(factor)) fail(`alpha of ${module} must be a finite number, got ${a}`);
      const weight = `${module}.weight`;
      changes.set(weight, [...(changes.get(weight) ?? []), { up: up[1].data, down: down[1].data, rank, factor }]);
    }
  }
  return changes;
}

/** lora_alpha of PEFT's config, or what its alpha_pattern says of a module: a whole name, or its end, as PEFT matches. */
function configured(config: LoraAdapter["config"], module: string): number | undefined {
  const pattern = config?.["alpha_pattern"];
  if (typeof pattern === "object" && pattern !== null) {
    const hit = Object.entries(pattern).find(([name]) => module === name || module.endsWith(`.${name}`));
    if (typeof hit?.[1] === "number") return hit[1];
  }
  const alpha = config?.["lora_alpha"];
  return typeof alpha === "number" ? alpha : undefined;
}

/** `provider` with the adapters merged into the weights they name, in f32, before any conversion. */
export function withLoras<P extends WeightProvider>(provider: P, changes: ReadonlyMap<string, readonly LoraChange[]>): WeightProvider {
  return {
    type: (name) => provider.type(name),
    async read(name, dtype, signal) {
      const mine = changes.get(name);
      if (!mine) return provider.read(name, dtype, signal);
      const merged = Float32Array.from((await provider.read(name, "f32", signal)) as Float32Array);
      for (const { up, down, rank, factor } of mine) addProduct(merged, up, down, rank, factor);
      return dtype === "f16" ? toFloat16(new Uint8Array(merged.buffer), "F32").data : merged;
    },
  };
}

/** into [out, in] += factor · up [out, rank] · down [rank, in] */
function addProduct(into: Float32Array, up: Float32Array, down: Float32Array, rank: number, factor: number): void {
  const inner = down.length / rank;
  for (let o = 0; o < up.length / rank; o++) {
    const row = into.subarray(o * inner, (o + 1) * inner);
    for (let r = 0; r < rank; r++) {
      const f = factor * up[o * rank + r]!;
      for (let i = 0, at = r * inner; i < inner; i++, at++) row[i]! += f * down[at]!;
    }
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
