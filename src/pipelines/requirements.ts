/** What each stage of a generation will take, planned from the configs alone: nothing is loaded. */
import type { Choice } from "../plan/choice.ts";
import { CogwheelError } from "../base/errors.ts";
import { compile, type Plan } from "../plan/compile.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import { sharedArenas } from "../run/program.ts";
import { loadingBytes, type WeightProvider } from "../run/weight-store.ts";
import { t5Graph } from "../models/t5/model.ts";
import type { T5Config } from "../models/t5/config.ts";
import type { TransformerConfig } from "../models/cogvideox/config.ts";
import type { VaeConfig } from "../models/vae/config.ts";
import { planExact } from "../models/vae/exact/plan.ts";
import { planVae, vaeGraphs, type VaeGraphOptions } from "../models/vae/batches.ts";
import { tileAxes } from "../models/vae/reference-tiling.ts";
import { DEFAULT_TILE_BYTES } from "../models/vae/model.ts";
import { denoiseGraph, type DenoiseShape } from "../models/cogvideox/model.ts";
import { bytesText } from "../base/units.ts";
import type { TilingMode } from "./options.ts";

export interface Configs {
  readonly text: T5Config;
  readonly transformer: TransformerConfig;
  readonly vae: VaeConfig;
}

/** Bytes on the adapter at one stage. */
export interface StageMemory {
  readonly stage: string;
  readonly weights: number;
  /** Planned over arenas by lifetime. */
  readonly activations: number;
  /** Inputs, outputs and constants, which live from run to run: the VAE's caches among them. */
  readonly io: number;
  readonly total: number;
  readonly flops: number;
  /** No plan could need less for activations. */
  readonly lowerBound: number;
  /** Bytes in the host's memory beside, with exact tiling. */
  readonly host: number;
  /** Kernels that were chosen among several, each kind of work once. */
  readonly choices: readonly KernelChoice[];
}

type Needs = Pick<StageMemory, "weights" | "activations" | "io" | "total" | "host">;

/** Bytes of the machine's memory at most: a CPU adapter takes it for all that is on the adapter, and weights pass through it on their way. */
export const machineBytes = ({ weights, total, host }: Needs, { kind }: Capabilities): number =>
  (kind === "software" ? total : 0) + host + loadingBytes(weights);

/** The part of a model that a stage loads. */
export const partOf = (stage: string): string => (stage === "text encoder" ? "text_encoder" : stage === "transformer" ? stage : "vae");

/** What stages need whose parts stay beside each other. */
export function together(stages: readonly StageMemory[]): Needs & { stage: string } {
  const sum = (of: (s: StageMemory) => number) => stages.reduce((n, s) => n + of(s), 0);
  return {
    stage: stages.map((s) => s.stage).join(", "),
    weights: sum((s) => s.weights),
    activations: sum((s) => s.activations),
    io: sum((s) => s.io),
    total: sum((s) => s.total),
    host: Math.max(0, ...stages.map((s) => s.host)),
  };
}

/** Refuses what needs more than the bytes that are free. @param otherwise another remedy than a smaller size or fewer frames */
export function refuseBeyond(
  available: number | undefined,
  room: string,
  what: string,
  needs: Needs,
  caps: Capabilities,
  otherwise?: string,
): void {
  const bytes = machineBytes(needs, caps);
  if (available === undefined || bytes <= available) return;
  throw new CogwheelError(
    room,
    `${what} needs ${bytesText(bytes)} (weights ${bytesText(needs.weights)}, activations ${bytesText(needs.activations + needs.io)}${needs.host ? `, host ${bytesText(needs.host)}` : ""}, loading ${bytesText(loadingBytes(needs.weights))}), got ${bytesText(available)} of free memory; choose a smaller size${otherwise === undefined ? " or fewer frames" : `, fewer frames or ${otherwise}`}`,
  );
}

/** Which kernel carries out one kind of work (docs/tuning.md). */
export interface KernelChoice {
  readonly work: string;
  readonly variant: string;
  /** By a measurement on this adapter, else by its capabilities. */
  readonly tuned: boolean;
}

export interface StagePlanOptions {
  readonly denoise: DenoiseShape;
  /** Latent frames that are decoded. */
  readonly decodedLatents: number;
  /** Frames that are encoded first; 0 for text alone. */
  readonly encodedFrames: number;
  /** Pixels a latent pixel. */
  readonly spatial: number;
  readonly tiling: TilingMode;
  readonly dtype: "f32" | "f16";
}

export function planStages(
  configs: Configs,
  caps: Capabilities,
  types: (component: string) => Pick<WeightProvider, "type">,
  o: StagePlanOptions,
): StageMemory[] {
  return stageParts(configs, caps, types, o).map(({ stage, plans, vae }) =>
    vae && o.tiling === "exact" ? measureExact(stage, configs.vae, caps, vae) : measure(stage, plans()),
  );
}

/** The plans that a generation's stages run; those of the VAE are a tile's where pictures are taken in tiles. */
export function stagePlans(
  configs: Configs,
  caps: Capabilities,
  types: (component: string) => Pick<WeightProvider, "type">,
  o: StagePlanOptions,
): { stage: string; plans: Plan[] }[] {
  return stageParts(configs, caps, types, o).map(({ stage, plans }) => ({ stage, plans: plans() }));
}

type VaeShape = Omit<VaeGraphOptions, "continues" | "continued">;

function stageParts(
  configs: Configs,
  caps: Capabilities,
  types: (component: string) => Pick<WeightProvider, "type">,
  o: StagePlanOptions,
): { stage: string; vae?: VaeShape; plans: () => Plan[] }[] {
  const { denoise, dtype, tiling } = o;
  const { height, width } = denoise;
  const part = (vae: VaeShape) => ({
    stage: stageOf(vae),
    vae,
    plans: () => planVae(configs.vae, caps, tiling === "none" ? vae : tileOf(configs.vae, vae)),
  });
  return [
    {
      stage: "text encoder",
      plans: () => [
        compile(t5Graph(configs.text, types("text_encoder"), { batch: denoise.guidance ? 2 : 1, length: denoise.textLength, dtype }), caps),
      ],
    },
    ...(o.encodedFrames
      ? [
          part({
            part: "encode",
            batch: 1,
            frames: o.encodedFrames,
            height: height * o.spatial,
            width: width * o.spatial,
            format: "sample",
            dtype,
          }),
        ]
      : []),
    { stage: "transformer", plans: () => [compile(denoiseGraph(configs.transformer, types("transformer"), denoise, dtype), caps)] },
    part({ part: "decode", batch: 1, frames: o.decodedLatents, height, width, format: "rgba", dtype }),
  ];
}

const stageOf = ({ part }: VaeShape): string => (part === "encode" ? "encoder" : "decoder");

/** A tile as diffusers cuts it, for pictures that are larger. */
function tileOf(config: VaeConfig, o: VaeShape): VaeShape {
  const axes = tileAxes(config, o.part, o, {});
  return axes ? { ...o, format: "sample", height: Math.min(o.height, axes.rows.size), width: Math.min(o.width, axes.columns.size) } : o;
}

/** What encoding or decoding a video takes, by the way it goes about large pictures. */
export function measureVae(config: VaeConfig, caps: Capabilities, { tiling, ...o }: VaeShape & { tiling: TilingMode }): StageMemory {
  if (tiling === "exact") return measureExact(stageOf(o), config, caps, o);
  return measure(stageOf(o), planVae(config, caps, tiling === "reference" ? tileOf(config, o) : o));
}

function measureExact(stage: string, config: VaeConfig, caps: Capabilities, options: VaeShape): StageMemory {
  const plans = vaeGraphs(config, { type: () => options.dtype }, options).graphs.map((graph) => planExact(graph, caps, DEFAULT_TILE_BYTES));
  const largest = (of: (plan: (typeof plans)[number]) => number) => Math.max(...plans.map(of));
  const weights = [...new Map(plans.flatMap((p) => [...p.weights].map(([key, w]) => [key, w.bytes] as const))).values()].reduce(
    (a, b) => a + b,
    0,
  );
  const activations = largest((p) => p.deviceBytes);
  return {
    stage,
    weights,
    activations,
    io: 0,
    total: weights + activations,
    flops: plans.reduce((n, p) => n + p.flops, 0),
    lowerBound: activations,
    host: largest((p) => p.hostBytes),
    choices: kernelChoices(plans.flatMap((p) => p.choices)),
  };
}

function measure(stage: string, plans: readonly Plan[]): StageMemory {
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  // The VAE's two programs share their arenas, and the second reads the first one's caches where they lie.
  const shared = plans.slice(1).flatMap((p) => [...p.graph.inputs].filter(([name]) => name !== "x").map(([, tensor]) => tensor.bytes));
  const activations = sum(sharedArenas(plans));
  const io = sum(plans.map((p) => p.bytes.io)) - sum(shared);
  const weights = sum([...new Map(plans.flatMap((p) => [...p.weights].map(([key, w]) => [key, w.bytes] as const))).values()]);
  return {
    stage,
    weights,
    activations,
    io,
    total: weights + activations + io,
    flops: sum(plans.map((p) => p.cost.flops)),
    lowerBound: Math.max(...plans.map((p) => p.bytes.lowerBound)),
    host: 0,
    choices: kernelChoices(plans.flatMap((p) => p.choices)),
  };
}

function kernelChoices(choices: readonly Choice[]): KernelChoice[] {
  return [...new Map(choices.map(({ key, variant, tuned }) => [key, { work: key, variant, tuned }])).values()];
}
