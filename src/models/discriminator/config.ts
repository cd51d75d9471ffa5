/** The config of a 3-D patch discriminator: its own names are those of published implementations. */
import { CogwheelError } from "../../base/errors.ts";
import { brief } from "../../base/brief.ts";
import { assertKnown } from "../../graph/known-name.ts";

export const DISCRIMINATOR_NORMS = ["batch", "instance", "none"] as const;

export type StrideTriple = readonly [time: number, rows: number, columns: number];

/** A 3-D patch discriminator (NLayerDiscriminator3D): convolutions with norms and leaky rectifiers between them. */
export interface DiscriminatorConfig {
  /** Channels of what is judged. */
  readonly input_nc: number;
  /** Channels of the first convolution; the others have ndf · min(2ⁿ, 8). */
  readonly ndf: number;
  /** Convolutions between the first and the last. */
  readonly n_layers: number;
  /** Taps along every axis. */
  readonly kernel_size: number;
  readonly norm: (typeof DISCRIMINATOR_NORMS)[number];
  /** Of each of the n_layers + 2 convolutions. */
  readonly strides: readonly StrideTriple[];
  /**
   * In time a convolution sees its own frame and those before, and before the first that one, repeated, as the VAE's do. So the first
   * frame is judged by itself, as a picture is. Not part of the published ones. Default false: one frame of zeros on both sides.
   */
  readonly causal?: boolean;
}

/** Strides as Open-Sora-Plan has them: of all axes, then twice of all, then of rows and columns; the last two convolutions have none. */
export const usualStrides = (n_layers: number): StrideTriple[] =>
  Array.from({ length: n_layers + 2 }, (_, n): StrideTriple => (n >= n_layers ? [1, 1, 1] : n < 2 ? [2, 2, 2] : [1, 2, 2]));

/** Checks a config that a stranger wrote; what is left out is as published. */
export function parseDiscriminatorConfig(json: Record<string, unknown>, what: string): DiscriminatorConfig {
  const fail = (rule: string) => new CogwheelError("discriminator", `${what}: ${rule}`);
  const whole = (key: string, value: unknown, least: number, most: number): number => {
    if (!Number.isInteger(value) || (value as number) < least || (value as number) > most)
      throw fail(`${key} must be a whole number from ${least} to ${most}, got ${brief(value)}; correct it`);
    return value as number;
  };
  const n_layers = whole("n_layers", json["n_layers"] ?? 3, 1, 8);
  const norm = json["norm"] ?? "batch";
  if (!DISCRIMINATOR_NORMS.includes(norm as never))
    throw fail(`norm must be one of ${DISCRIMINATOR_NORMS.join(", ")}, got ${brief(norm)}; correct it`);
  const strides = json["strides"] ?? usualStrides(n_layers);
  if (!Array.isArray(strides) || strides.length !== n_layers + 2 || !strides.every((s) => Array.isArray(s) && s.length === 3))
    throw fail(`strides must be ${n_layers + 2} triples, one for each convolution, got ${brief(strides)}; correct them`);
  return {
    input_nc: whole("input_nc", json["input_nc"] ?? 3, 1, 64),
    ndf: whole("ndf", json["ndf"] ?? 64, 1, 1024),
    n_layers,
    kernel_size: whole("kernel_size", json["kernel_size"] ?? 3, 2, 7),
    norm: norm as DiscriminatorConfig["norm"],
    strides: strides.map((s: unknown[]) => s.map((n) => whole("a stride", n, 1, 8)) as unknown as StrideTriple),
    causal: json["causal"] === true,
  };
}

const KEYS: readonly (keyof DiscriminatorConfig)[] = ["input_nc", "ndf", "n_layers", "kernel_size", "norm", "strides", "causal"];

/** A config that an app gives, with what it leaves out as published. */
export function discriminatorConfig(given: Partial<DiscriminatorConfig> = {}): DiscriminatorConfig {
  for (const key of Object.keys(given)) assertKnown("discriminator", "a key of the config", key, KEYS);
  return parseDiscriminatorConfig({ ...given }, "the discriminator");
}

/** One level: its convolution, and what follows. */
export interface DiscriminatorLevel {
  /** main.<i> of the convolution. */
  readonly conv: string;
  readonly inChannels: number;
  readonly outChannels: number;
  readonly stride: StrideTriple;
  readonly bias: boolean;
  /** main.<i> of the norm. */
  readonly norm?: string;
  /** A leaky rectifier follows. */
  readonly active: boolean;
}

/** Convolutions in their order, with the places that torch's Sequential gives them. */
export function discriminatorLevels(c: DiscriminatorConfig): DiscriminatorLevel[] {
  const levels: DiscriminatorLevel[] = [];
  let place = 0;
  let channels = c.input_nc;
  for (const [n, stride] of c.strides.entries()) {
    const [first, last] = [n === 0, n === c.n_layers + 1];
    const outChannels = last ? 1 : c.ndf * Math.min(2 ** n, 8);
    const normed = !first && !last && c.norm !== "none";
    levels.push({
      conv: `main.${place++}`,
      inChannels: channels,
      outChannels,
      stride,
      bias: first || last || c.norm !== "batch",
      ...(normed ? { norm: `main.${place++}` } : {}),
      active: !last,
    });
    if (!last) place++;
    channels = outChannels;
  }
  return levels;
}

/** The smallest clip that every convolution finds all of its taps in. */
export function leastClip(c: DiscriminatorConfig): { readonly frames: number; readonly height: number; readonly width: number } {
  // Around what it reads a convolution has one row of zeros on either side; in time a causal one has as many frames as it wants.
  const least = (axis: 0 | 1 | 2, around: number): number =>
    c.strides.reduceRight((made, stride) => Math.max(1, (made - 1) * stride[axis] + c.kernel_size - around), 1);
  return { frames: least(0, c.causal ? c.kernel_size - 1 : 2), height: least(1, 2), width: least(2, 2) };
}

/** Trained weights' shapes by name; running statistics are apart. */
export function discriminatorWeights(c: DiscriminatorConfig): Map<string, readonly number[]> {
  return new Map(
    discriminatorLevels(c).flatMap(({ conv, inChannels, outChannels, bias, norm }): [string, readonly number[]][] => [
      [`${conv}.weight`, [outChannels, inChannels, c.kernel_size, c.kernel_size, c.kernel_size]],
      ...(bias ? ([[`${conv}.bias`, [outChannels]]] as [string, readonly number[]][]) : []),
      ...(norm && c.norm === "batch"
        ? ([
            [`${norm}.weight`, [outChannels]],
            [`${norm}.bias`, [outChannels]],
          ] as [string, readonly number[]][])
        : []),
    ]),
  );
}

/** Running statistics' shapes by name: of batch norms alone. */
export function runningStatistics(c: DiscriminatorConfig): Map<string, readonly number[]> {
  if (c.norm !== "batch") return new Map();
  return new Map(
    discriminatorLevels(c).flatMap(({ norm, outChannels }): [string, readonly number[]][] =>
      norm
        ? [
            [`${norm}.running_mean`, [outChannels]],
            [`${norm}.running_var`, [outChannels]],
          ]
        : [],
    ),
  );
}
