/**
 * Training of adapters: for every target a pair of matrices, B·A · alpha / rank beside the weight (Hu et al. 2021, arXiv:2106.09685). The
 * model's own weights stay as they are, however they are stored.
 */
import { CogwheelError } from "../base/errors.ts";
import type { TorchGenerator } from "../diffusion/torch-random.ts";
import { elements } from "../graph/dtype.ts";
import { padTo } from "../graph/packing.ts";
import { factorWeight } from "../models/cogvideox/linear.ts";
import { parseLoraKey } from "../models/lora/keys.ts";
import { type LoraTensor, loraName } from "../models/lora/merge.ts";
import type { Parameter, Trained } from "./parameters.ts";

/** What diffusers' and CogVideoX's own trainers take. */
export const DEFAULT_TARGETS = ["to_q", "to_k", "to_v", "to_out.0"] as const;

/** Which adapter is trained: its rank, its scale and where it stands. */
export interface LoraOptions {
  /** Default 64. */
  readonly rank?: number;
  /** The product of a pair counts alpha / rank times. Default: the rank. */
  readonly alpha?: number;
  /** Modules by their names or the ends of them, at a dot, as in PEFT. Default {@link DEFAULT_TARGETS}. */
  readonly targets?: readonly string[];
  /** Matrices to begin with, by any key that names them (docs/lora.md). Default: A is drawn, B is zero. */
  readonly initial?: ReadonlyMap<string, LoraTensor>;
}

/** A module that has an adapter. */
export interface AdaptedModule {
  readonly module: string;
  /** Of its weight. */
  readonly shape: readonly number[];
}

export interface TrainedLora extends Trained {
  readonly kind: "lora";
  readonly rank: number;
  readonly alpha: number;
  readonly targets: readonly string[];
  readonly modules: readonly AdaptedModule[];
  /**
   * Matrices in PEFT's layout, A [rank, in…] and B [out, rank…], from what the states hold; by the keys that they were given under, else by
   * diffusers' own.
   */
  tensors(values: ReadonlyMap<string, Float32Array>): Map<string, LoraTensor>;
}

/**
 * The modules that an adapter stands beside; throws for one that the model cannot have.
 * @param weights shapes of the model's weights, by state-dict name
 */
export function adaptedModules(
  weights: ReadonlyMap<string, readonly number[]>,
  { rank = 64, alpha = rank, targets = DEFAULT_TARGETS }: LoraOptions,
): AdaptedModule[] {
  if (!Number.isInteger(rank) || rank < 1) throw new CogwheelError("training", `the rank must be a whole number from 1, got ${rank}`);
  if (!Number.isFinite(alpha) || alpha === 0)
    throw new CogwheelError("training", `alpha must be a finite number other than 0, got ${alpha}; leave it out for the rank`);
  const modules = adapted(weights, targets);
  // Above a target's smaller side a rank adds nothing, but PEFT takes it, and one rank may be for targets of several widths.
  const widest = Math.max(...modules.flatMap(sides));
  if (rank > widest)
    throw new CogwheelError("training", `the rank must be at most the widest side of the targets, ${widest}, got ${rank}; lower it`);
  return modules;
}

/**
 * @param weights shapes of the model's weights, by state-dict name
 * @param generator draws A: uniform within ±1/√in, which is kaiming_uniform with a = √5
 */
export function loraParameters(
  weights: ReadonlyMap<string, readonly number[]>,
  options: LoraOptions,
  generator: TorchGenerator,
): TrainedLora {
  const { rank = 64, alpha = rank, targets = DEFAULT_TARGETS, initial } = options;
  const modules = adaptedModules(weights, options);
  const byWeight = new Map(modules.map((one) => [`${one.module}.weight`, one]));
  // Kernels read vectors of four; rows that fill them up are zero, and so are their gradients.
  const padded = padTo(rank, 4);
  const names = new Map(
    modules.flatMap(({ module }) =>
      (["down", "up"] as const).map((part) => [loraName(part, `${module}.weight`), { module, part }] as const),
    ),
  );
  const given = initial && initialPairs(modules, initial, rank);
  const drawn = new Map<string, Float32Array>();
  if (!given)
    for (const one of modules) {
      const inner = elements(one.shape.slice(1));
      drawn.set(one.module, generator.uniform([rank, inner], -1 / Math.sqrt(inner), 1 / Math.sqrt(inner)));
    }
  return {
    kind: "lora",
    rank,
    alpha,
    targets,
    modules,
    has: (asked) => names.has(asked.join("+")),
    loras: { rank: (weight) => (byWeight.has(weight) ? padded : 0) },
    input(name) {
      const weight = factorWeight(name);
      return weight === undefined ? undefined : new Float32Array(padded).fill(alpha / rank, 0, rank);
    },
    initial({ name, shape }: Parameter) {
      const { module, part } = names.get(name)!;
      const values = new Float32Array(elements(shape));
      const before = given?.get(module);
      if (part === "down") values.set(before ? before.A : drawn.get(module)!);
      else if (before) spread(before.B, values, rank, padded);
      return values;
    },
    tensors(values) {
      const tensors = new Map<string, LoraTensor>();
      for (const { module, shape } of modules) {
        const [out = 1, ...inner] = shape;
        const up = values.get(loraName("up", `${module}.weight`))!;
        const down = values.get(loraName("down", `${module}.weight`))!;
        const keys = given?.get(module) ?? { keyA: `transformer.${module}.lora_A.weight`, keyB: `transformer.${module}.lora_B.weight` };
        tensors.set(keys.keyA, { shape: [rank, ...inner], data: down.slice(0, rank * elements(inner)) });
        // A convolution's adapter is a convolution of its kernel, then one of kernels of 1.
        tensors.set(keys.keyB, { shape: [out, rank, ...inner.slice(1).map(() => 1)], data: gathered(up, rank, padded) });
      }
      return tensors;
    },
  };
}

/** Matrices to begin with, and their keys. */
interface InitialPair {
  readonly A: Float32Array;
  readonly B: Float32Array;
  readonly keyA: string;
  readonly keyB: string;
}

const sides = ({ shape }: AdaptedModule): [number, number] => [shape[0]!, elements(shape.slice(1))];

/** Rows of `width` values into rows of `stride`. */
function spread(from: Float32Array, into: Float32Array, width: number, stride: number): void {
  for (let row = 0; row * width < from.length; row++) into.set(from.subarray(row * width, (row + 1) * width), row * stride);
}

/** Rows of `width` values out of rows of `stride`. */
const gathered = (from: Float32Array, width: number, stride: number): Float32Array =>
  Float32Array.from({ length: (from.length / stride) * width }, (_, i) => from[Math.floor(i / width) * stride + (i % width)]!);

/** The modules that targets name, in the order of the model. */
function adapted(weights: ReadonlyMap<string, readonly number[]>, targets: readonly string[]): AdaptedModule[] {
  const linear = [...weights]
    .filter(([name, shape]) => name.endsWith(".weight") && shape.length > 1)
    .map(([name, shape]) => ({ module: name.slice(0, -".weight".length), shape }));
  const matches = (module: string, target: string): boolean => module === target || module.endsWith(`.${target}`);
  const without = targets.filter((target) => !linear.some(({ module }) => matches(module, target)));
  if (without.length || targets.length === 0) {
    const ends = new Set(linear.map(({ module }) => module.replace(/^transformer_blocks\.\d+\./, "")));
    throw new CogwheelError(
      "training",
      `a target must name modules of the model, got ${without.map((t) => JSON.stringify(t)).join(", ") || "none"}; ` +
        `it has ${[...ends].join(", ")}`,
    );
  }
  return linear.filter(({ module }) => targets.some((target) => matches(module, target)));
}

/** A and B of every module, of the rank, from matrices by key. */
function initialPairs(modules: readonly AdaptedModule[], initial: ReadonlyMap<string, LoraTensor>, rank: number): Map<string, InitialPair> {
  const flat = new Map(modules.map(({ module }) => [module.replaceAll(".", "_"), module]));
  const found = new Map<string, Partial<InitialPair>>();
  for (const [key, { data }] of initial) {
    const named = parseLoraKey(key, flat);
    const module = named && modules.find(({ module }) => module === named.module);
    if (!named || !module || named.part === "alpha")
      throw new CogwheelError(
        "training",
        `matrices to begin with must be those of the targets, got ${key}; leave it out, or name its module as a target`,
      );
    const [out, inner] = sides(module);
    if (data.length !== rank * (named.part === "down" ? inner : out))
      throw new CogwheelError(
        "training",
        `matrices to begin with must be of rank ${rank}, got ${data.length} values in ${key}; choose the rank that they have`,
      );
    found.set(module.module, { ...found.get(module.module), ...(named.part === "down" ? { A: data, keyA: key } : { B: data, keyB: key }) });
  }
  for (const { module } of modules) {
    const { A, B } = found.get(module) ?? {};
    if (!A || !B)
      throw new CogwheelError(
        "training",
        `every target must have both matrices to begin with, got ${A || B ? "one" : "none"} of ${module}`,
      );
  }
  return found as Map<string, InitialPair>;
}
