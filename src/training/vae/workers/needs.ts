/** What a worker of a VAE's training takes on its adapter, told from configs alone. */
import type { Capabilities } from "../../../gpu/capabilities.ts";
import { pieceBytes, planPiece } from "../../../models/vae/split/run.ts";
import type { WeightProvider } from "../../../run/weight-provider.ts";
import { workGraph, dealOf, programsOf } from "./engine.ts";
import type { PieceClip, PieceRecipe } from "./types.ts";

export interface WorkerNeeds {
  /** Latent frames of the largest piece. */
  readonly latents: number;
  readonly weights: number;
  readonly activations: number;
  readonly io: number;
  readonly total: number;
  /** Operations of a clip, forward and back. */
  readonly flops: number;
}

/** Of the worker with the largest piece. */
export function workerNeeds(
  recipe: PieceRecipe,
  { weights, caps }: { readonly weights: Pick<WeightProvider, "type">; readonly caps: Capabilities },
  clip: PieceClip,
): WorkerNeeds {
  const sizes = dealOf(recipe.config, "decode", clip).pieces.map(({ from, to }) => to - from);
  const latents = Math.max(...sizes);
  const graphs = programsOf(recipe.part, clip.judged).map((program) =>
    workGraph(recipe, weights, clip, program, sizes.lastIndexOf(latents)),
  );
  const plans = graphs.map((graph) => planPiece(graph, caps));
  const { activations, io } = pieceBytes(plans, graphs);
  const kept = new Map(plans.flatMap((plan) => [...plan.weights].map(([key, { bytes }]) => [key, bytes] as const)));
  const bytes = [...kept.values()].reduce((a, b) => a + b, 0);
  const flops = plans.reduce((sum, { cost }) => sum + cost.flops, 0);
  return { latents, weights: bytes, activations, io, total: bytes + activations + io, flops };
}
