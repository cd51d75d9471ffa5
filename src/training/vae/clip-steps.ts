/**
 * What a clip's micro-step runs beside its halves, however those are run: each a program, and what is read of it. `key` tells one size of
 * clips from another.
 */
import type { ProgramMaker } from "../programs.ts";
import { adaptiveGraph, judgedGraph, type MomentsShape, posteriorGraph, sampleGraph } from "./clip-graphs.ts";
import type { VaeRecipe } from "./record.ts";
import type { PixelShape } from "./sample.ts";

type Values = Float32Array | Uint32Array;
type Outputs = Record<string, Float32Array>;

/** Latents [B, Z, T', H', W'] that are drawn. */
export async function drawLatents(
  programs: ProgramMaker,
  key: string,
  shape: MomentsShape,
  inputs: { readonly moments: Float32Array; readonly noise: Float32Array },
): Promise<Float32Array> {
  const sample = await programs.get(`sample${key}`, () => sampleGraph(shape));
  await sample.run({ inputs });
  return await sample.read("z");
}

/** The gradient with respect to moments; told: `kl.0`. */
export async function momentsGradient(
  programs: ProgramMaker,
  key: string,
  shape: MomentsShape,
  inputs: { readonly moments: Float32Array; readonly noise: Float32Array; readonly dz: Float32Array; readonly kl: Values },
  outputs: Outputs,
): Promise<Float32Array> {
  const posterior = await programs.get(`posterior${key}`, () => posteriorGraph(shape));
  await posterior.run({ inputs });
  outputs["kl.0"] = await posterior.read("kl.0");
  return await posterior.read("dy");
}

/** The gradient of what a discriminator says of clips, with respect to them; told: `generator`, and `made` as its own step reads it. */
export async function judgedGradient(
  programs: ProgramMaker,
  key: string,
  recipe: VaeRecipe,
  shape: PixelShape,
  inputs: { readonly made: Float32Array; readonly generator: Values },
  outputs: Outputs,
): Promise<Float32Array> {
  const judged = await programs.get(`judged${key}`, () => judgedGraph(recipe, shape));
  await judged.run({ inputs });
  outputs["generator"] = await judged.read("generator");
  outputs["made"] = await judged.read("clip");
  return await judged.read("gen");
}

/** How much that counts, by gradients at the decoder's last weight; told: `adaptive`. Where there are none, by its weight alone. */
export async function adversarialFactor(
  programs: ProgramMaker,
  recipe: VaeRecipe,
  atLast: { readonly rec: Float32Array; readonly gen: Float32Array } | undefined,
  all: Readonly<Record<string, Values>>,
  outputs: Outputs,
): Promise<number> {
  if (!atLast) return all["disc"]![0]!;
  const weigh = await programs.get("adaptive", () => adaptiveGraph(recipe));
  await weigh.run({ inputs: { ...atLast, adaptive: all["adaptive"]! } });
  return (outputs["adaptive"] = await weigh.read("adaptive"))[0]!;
}

/** a + factor · b, of as many values. */
export function plusScaled(a: Float32Array, b: Float32Array, factor: number): Float32Array<ArrayBuffer> {
  const out = new Float32Array(a.length);
  for (let i = 0; i < out.length; i++) out[i] = a[i]! + factor * b[i]!;
  return out;
}
