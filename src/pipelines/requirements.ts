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
import { planVae, vaeGraphs, type VaeGraphOptions } from "../models/vae/graphs.ts";
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
  const { tiling } = o;
  return [
    measure("text encoder", [compile(t5Graph(configs.text, types("text_encoder"), { batch: denoise.guidance ? 2 : 1, length: denoise.textLength, dtype }), caps)]),
    ...(o.encodedFrames ? [measureVae(configs.vae, caps, { part: "encode", batch: 1, frames: o.encodedFrames, height: height * o.spatial, width: width * o.spatial, format: "sample", tiling, dtype })] : []),
    measure("transformer", [compile(denoiseGraph(configs.transformer, types("transformer"), denoise, dtype), caps)]),
    measureVae(configs.vae, caps, { part: "decode", batch: 1, frames: o.decodedLatents, height, width, format: "rgba", tiling, dtype }),
  ];
}

/** What encoding or decoding a video takes, by the way it goes about large pictures. */
export function measureVae(config: VaeConfig, caps: Capabilities, { tiling, ...o }: Omit<VaeGraphOptions, "continues" | "continued"> & { tiling: TilingMode }): StageMemory {
  const stage = o.part === "encode" ? "encoder" : "decoder";
  if (tiling === "exact") return measureExact(stage, config, caps, o);
  const axes = tiling === "reference" ? tileAxes(config, o.part, o, {}) : null;
  const tile = axes ? { ...o, format: "sample" as const, height: Math.min(o.height, axes.rows.size), width: Math.min(o.width, axes.columns.size) } : o;
  return measure(stage, planVae(config, caps, tile));
}

function measureExact(stage: string, config: VaeConfig, caps: Capabilities, options: Omit<VaeGraphOptions, "continues" | "continued">): StageMemory {
  const plans = vaeGraphs(config, { type: () => options.dtype }, options).graphs.map((graph) => planExact(graph, caps, DEFAULT_TILE_BYTES));
  const largest = (of: (plan: (typeof plans)[number]) => number) => Math.max(...plans.map(of));
  const weights = [...new Map(plans.flatMap((p) => [...p.weights].map(([key, w]) => [key, w.bytes] as const))).values()].reduce((a, b) => a + b, 0);
  const activations = largest((p) => p.deviceBytes);
  return { stage, weights, activations, total: weights + activations, flops: plans.reduce((n, p) => n + p.flops, 0), lowerBound: activations, host: largest((p) => p.hostBytes) };
}

function measure(stage: string, plans: readonly Plan[]): StageMemory {
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  // The VAE's two programs share their arenas, and the second reads the first one's caches where they lie.
  const shared = plans.slice(1).flatMap((p) => [...p.graph.inputs].filter(([name]) => name !== "x").map(([, tensor]) => tensor.bytes));
  const activations = sum(sharedArenas(plans)) + sum(plans.map((p) => p.bytes.io)) - sum(shared);
  const weights = sum([...new Map(plans.flatMap((p) => [...p.weights].map(([key, w]) => [key, w.bytes] as const))).values()]);
  return { stage, weights, activations, total: weights + activations, flops: sum(plans.map((p) => p.cost.flops)), lowerBound: Math.max(...plans.map((p) => p.bytes.lowerBound)), host: 0 };
}
