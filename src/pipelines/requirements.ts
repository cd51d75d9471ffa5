/** What each stage of a generation will take, planned from the configs alone: nothing is loaded. */
import { compile, type Plan } from "../graph/compile.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import { sharedArenas } from "../graph/program.ts";
import type { WeightProvider } from "../graph/weights.ts";
import { t5Graph } from "../models/t5/encoder.ts";
import type { T5Config } from "../models/t5/config.ts";
import type { TransformerConfig } from "../models/transformer/config.ts";
import type { VaeConfig } from "../models/vae/config.ts";
import { planExact } from "../models/vae/exact.ts";
import { planVae, vaeGraphs, type DecodedFormat, type VaeGraphOptions, type VideoShape } from "../models/vae/graphs.ts";
import { tileAxes } from "../models/vae/tiling.ts";
import { DEFAULT_TILE_BYTES } from "../models/vae/vae.ts";
import { denoiseGraph, type DenoiseShape } from "./denoiser.ts";
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
  readonly activations: number;
  readonly total: number;
  readonly flops: number;
  /** No plan could need less for activations. */
  readonly lowerBound: number;
  /** Bytes in the host's memory beside, with exact tiling. */
  readonly host: number;
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

export function planStages(configs: Configs, caps: Capabilities, types: (component: string) => Pick<WeightProvider, "type">, o: StagePlanOptions): StageMemory[] {
  const { denoise, dtype } = o;
  const { height, width } = denoise;
  const vae = (part: "encode" | "decode", frames: number, size: { height: number; width: number }, format: DecodedFormat): Plan[] | StageMemory => {
    const whole: VideoShape = { batch: 1, frames, ...size };
    if (o.tiling === "exact") return measureExact(configs.vae, caps, { ...whole, part, format, dtype });
    const axes = o.tiling === "reference" ? tileAxes(configs.vae, part, whole, {}) : null;
    const shape = axes ? { ...whole, height: Math.min(size.height, axes.rows.size), width: Math.min(size.width, axes.columns.size) } : whole;
    return planVae(configs.vae, caps, { ...shape, part, format: axes ? "sample" : format, dtype });
  };
  const stages: [string, Plan[] | StageMemory][] = [
    ["text encoder", [compile(t5Graph(configs.text, types("text_encoder"), { batch: denoise.guidance ? 2 : 1, length: denoise.textLength, dtype }), caps)]],
    ...(o.encodedFrames ? [["encoder", vae("encode", o.encodedFrames, { height: height * o.spatial, width: width * o.spatial }, "sample")] as [string, Plan[] | StageMemory]] : []),
    ["transformer", [compile(denoiseGraph(configs.transformer, types("transformer"), denoise, dtype), caps)]],
    ["decoder", vae("decode", o.decodedLatents, { height, width }, "rgba")],
  ];
  return stages.map(([stage, plans]) => (Array.isArray(plans) ? measure(stage, plans) : { ...(plans as StageMemory), stage }));
}

function measureExact(config: VaeConfig, caps: Capabilities, options: Omit<VaeGraphOptions, "continues" | "continued">): StageMemory {
  const plans = vaeGraphs(config, { type: () => options.dtype }, options).graphs.map((graph) => planExact(graph, caps, DEFAULT_TILE_BYTES));
  const largest = (of: (plan: (typeof plans)[number]) => number) => Math.max(...plans.map(of));
  const weights = [...new Map(plans.flatMap((p) => [...p.weights].map(([key, w]) => [key, w.bytes] as const))).values()].reduce((a, b) => a + b, 0);
  const activations = largest((p) => p.deviceBytes);
  return { stage: "", weights, activations, total: weights + activations, flops: plans.reduce((n, p) => n + p.flops, 0), lowerBound: activations, host: largest((p) => p.hostBytes) };
}

function measure(stage: string, plans: readonly Plan[]): StageMemory {
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  // The VAE's two programs share their arenas, and the second reads the first one's caches where they lie.
  const shared = plans.slice(1).flatMap((p) => [...p.graph.inputs].filter(([name]) => name !== "x").map(([, tensor]) => tensor.bytes));
  const activations = sum(sharedArenas(plans)) + sum(plans.map((p) => p.bytes.io)) - sum(shared);
  const weights = sum([...new Map(plans.flatMap((p) => [...p.weights].map(([key, w]) => [key, w.bytes] as const))).values()]);
  return { stage, weights, activations, total: weights + activations, flops: sum(plans.map((p) => p.cost.flops)), lowerBound: Math.max(...plans.map((p) => p.bytes.lowerBound)), host: 0 };
}
