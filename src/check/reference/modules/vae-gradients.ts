/** Gradients of a half of the causal VAE: through its batches of frames, as a clip that is longer than memory is trained. */
import { CogwheelError } from "../../../base/errors.ts";
import { LatentPosterior } from "../../../models/vae/posterior.ts";
import { parseVaeConfig } from "../../../models/vae/config.ts";
import { vaeWeights } from "../../../models/vae/batches.ts";
import { WeightStore } from "../../../run/weight-store.ts";
import { FrameBatches, halfStates } from "../../../training/vae/frame-batches.ts";
import type { HalfRecipe } from "../../../training/vae/half-graphs.ts";
import { initialise } from "../../../training/initial-values.ts";
import type { Trained } from "../../../training/parameters.ts";
import { stateName } from "../../../training/update.ts";
import { expectCaseWeights } from "../case.ts";
import type { ModuleContext } from "../module.ts";
import type { HostTensor, ReferenceCase } from "../reference-case.ts";

type Five = readonly [number, number, number, number, number];
type Outputs = Record<string, HostTensor>;

/** Outputs and gradients by the format's names. @param argument what the case calls the input */
export async function halfGradients(
  c: ReferenceCase,
  context: ModuleContext,
  part: HalfRecipe["part"],
  argument: string,
): Promise<Outputs> {
  const { gpu, dtype } = context;
  const config = parseVaeConfig(c.config, c.name);
  const weights = context.weights();
  expectCaseWeights(c, weights, vaeWeights(config, [part]));
  const x = c.inputs.get(argument)!;
  const [batch, , frames, height, width] = x.shape as Five;
  const wanted = new Set([...c.gradients.keys()].flatMap((name) => (name.startsWith("weight.") ? [name.slice("weight.".length)] : [])));
  const trained: Trained = {
    kind: "full",
    has: (names) => names.some((name) => wanted.has(name)),
    input: () => undefined,
    initial: () => "checkpoint",
  };
  const ofInput = c.gradients.has(`input.${argument}`);
  const recipe: HalfRecipe = { config, weights, part, dtype, trained, again: true, ofInput };
  using store = new WeightStore(gpu, weights);
  using states = halfStates(gpu, recipe);
  await initialise(gpu, weights, trained, states);
  using half = await FrameBatches.create(gpu, store, states, recipe, { batch, frames, height, width });
  const made = await half.forward(x.data);
  const { outputs, cotangent } = (part === "encode" ? ofMoments : ofSample)(c, made, half.madeShape);
  const { dx } = await half.backward({ cotangent });
  const out: Outputs = { ...outputs, ...(dx ? { [`grad.input.${argument}`]: { shape: x.shape, data: dx } } : {}) };
  for (const name of wanted) {
    const { shape } = c.weights.get(name)!;
    const state = stateName("gradient", name);
    const data = states.has(state)
      ? new Float32Array(await gpu.read(states.buffer(state), 0, 4 * c.weights.get(name)!.data.length))
      : undefined;
    out[`grad.weight.${name}`] = { shape, data: data ?? new Float32Array(c.weights.get(name)!.data.length) };
  }
  return out;
}

function cotangentOf(c: ReferenceCase, name: string, shape: readonly number[]): Float32Array | undefined {
  const given = c.cotangents.get(name);
  if (given && given.shape.join() !== shape.join())
    throw new CogwheelError(
      "reference",
      `${c.name}: cotangent.${name} must be [${shape.join(", ")}], got [${given.shape.join(", ")}]; make the case again`,
    );
  return given?.data;
}

function expectOutputs(c: ReferenceCase, known: readonly string[]): void {
  for (const name of c.cotangents.keys())
    if (!known.includes(name))
      throw new CogwheelError(
        "reference",
        `${c.name}: a cotangent must be of an output of ${c.module}, got cotangent.${name}; it has ${known.join(", ")}`,
      );
}

function ofSample(c: ReferenceCase, made: Float32Array, shape: Five): { outputs: Outputs; cotangent: Float32Array } {
  expectOutputs(c, ["sample"]);
  return { outputs: { sample: { shape, data: made } }, cotangent: cotangentOf(c, "sample", shape) ?? new Float32Array(made.length) };
}

/** Of log-variances that the reference clamps no gradient comes back. */
function ofMoments(c: ReferenceCase, made: Float32Array, shape: Five): { outputs: Outputs; cotangent: Float32Array } {
  expectOutputs(c, ["mean", "logvar"]);
  const { mean, logvar, shape: half } = LatentPosterior.fromMoments(made, shape);
  const [ofMean, ofLogvar] = ["mean", "logvar"].map((name) => cotangentOf(c, name, half));
  const block = mean.length / shape[0];
  const cotangent = made.map((given, i) => {
    const [b, within] = [Math.floor(i / (2 * block)), i % (2 * block)];
    if (within < block) return ofMean?.[b * block + within] ?? 0;
    return given < -30 || given > 20 ? 0 : (ofLogvar?.[b * block + within - block] ?? 0);
  });
  return { outputs: { mean: { shape: half, data: mean }, logvar: { shape: half, data: logvar } }, cotangent };
}
