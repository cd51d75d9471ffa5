/** What a VAE takes to encode or decode a video, by the way it goes about large pictures: nothing is loaded. */
import type { Plan } from "../plan/compile.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import type { VaeConfig } from "../models/vae/config.ts";
import { leastTileBytes, planExact } from "../models/vae/exact/plan.ts";
import { planVae, vaeGraphs, type VaeGraphOptions } from "../models/vae/batches.ts";
import { tileAxes } from "../models/vae/reference-tiling.ts";
import { DEFAULT_TILE_BYTES } from "../models/vae/tiling.ts";
import type { TilingMode } from "./options.ts";
import { loadingBytes } from "../run/weight-store.ts";
import { kernelChoices, measurePlans, type StageMemory } from "./requirements.ts";

export type VaeShape = Omit<VaeGraphOptions, "continues" | "continued">;

/** The plans of a video, or of a tile of it where pictures are taken in tiles. */
export const vaePlans = (config: VaeConfig, caps: Capabilities, o: VaeShape, tiling: TilingMode): Plan[] =>
  planVae(config, caps, tiling === "none" ? o : tileOf(config, o));

export const stageOf = ({ part }: Pick<VaeShape, "part">): string => (part === "encode" ? "encoder" : "decoder");

/** A tile as diffusers cuts it, for pictures that are larger. */
function tileOf(config: VaeConfig, o: VaeShape): VaeShape {
  const axes = tileAxes(config, o.part, o, {});
  return axes ? { ...o, format: "sample", height: Math.min(o.height, axes.rows.size), width: Math.min(o.width, axes.columns.size) } : o;
}

/** What encoding or decoding a video takes, by the way it goes about large pictures. */
export function measureVae(config: VaeConfig, caps: Capabilities, o: VaeShape, tiling: TilingMode): StageMemory {
  if (tiling === "exact") return measureExact(config, caps, o);
  return measurePlans(stageOf(o), vaePlans(config, caps, o, tiling));
}

const exactGraphs = (config: VaeConfig, o: VaeShape) => vaeGraphs(config, { type: () => o.dtype }, o).graphs;

/** Exact tiling's sections of each frame batch, by one tile's plan and how many tiles there are. */
export const exactSections = (config: VaeConfig, caps: Capabilities, o: VaeShape, tileBytes = DEFAULT_TILE_BYTES) =>
  exactGraphs(config, o).map((graph) => planExact(graph, caps, tileBytes).sections);

/** What the smallest tiles take at which exact tiling is worth its while. */
export function leastExact(config: VaeConfig, caps: Capabilities, o: VaeShape): StageMemory {
  return measureExact(config, caps, o, Math.max(...exactGraphs(config, o).map((graph) => leastTileBytes(graph, caps))));
}

/** @param tileBytes what a tile's activations may take */
export function measureExact(config: VaeConfig, caps: Capabilities, options: VaeShape, tileBytes = DEFAULT_TILE_BYTES): StageMemory {
  const plans = exactGraphs(config, options).map((graph) => planExact(graph, caps, tileBytes));
  const largest = (of: (plan: (typeof plans)[number]) => number) => Math.max(...plans.map(of));
  const weights = [...new Map(plans.flatMap((p) => [...p.weights].map(([key, w]) => [key, w.bytes] as const))).values()].reduce(
    (a, b) => a + b,
    0,
  );
  const activations = largest((p) => p.deviceBytes);
  return {
    stage: stageOf(options),
    weights,
    streamed: 0,
    slots: 0,
    tileBytes,
    activations,
    io: 0,
    states: 0,
    total: weights + activations,
    peak: weights + activations + loadingBytes(weights),
    flops: plans.reduce((n, p) => n + p.flops, 0),
    lowerBound: activations,
    host: largest((p) => p.hostBytes),
    choices: kernelChoices(plans.flatMap((p) => p.choices)),
  };
}
