/** A clip through the whole VAE by batches of frames, against the one graph in which a short clip is trained: L1 and KL. */
import { expect, test } from "vitest";
import { takeFrames, vaeWeights } from "../../src/models/vae/batches.ts";
import { channelsLast } from "../../src/ops/channels.ts";
import { pixelLoss } from "../../src/ops/pixel_loss.ts";
import { compile } from "../../src/plan/compile.ts";
import { Program } from "../../src/run/program.ts";
import { States } from "../../src/run/states.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { fullParameters } from "../../src/training/full.ts";
import { initialise } from "../../src/training/initial-values.ts";
import { withSums } from "../../src/training/step-graphs.ts";
import { stateName } from "../../src/training/update.ts";
import { ClipPasses, type ClipRecipe, clipStates } from "../../src/training/vae/clip-passes.ts";
import { vaeMicro, type VaeRecipe } from "../../src/training/vae/record.ts";
import { relativeL2, values } from "../support/compare.ts";
import { memoryWeights, testGpu } from "../support/gpu.ts";
import { smallVae, smallVaeWeights } from "../support/small-vae.ts";

const config = smallVae({ block_out_channels: [4, 8, 8], latent_channels: 3, temporal_compression_ratio: 4 });
const shape = { batch: 2, frames: 17, height: 8, width: 12 };
const latents = { frames: 5, height: 2, width: 3 };

test("has the losses and gradients of one graph over all batches of the clip", async () => {
  const gpu = await testGpu();
  const table = smallVaeWeights(config, { seed: 40 });
  const weights = memoryWeights(table);
  const trained = fullParameters(vaeWeights(config).keys());
  const [pixels, latentPlane] = [shape.height * shape.width, latents.height * latents.width];
  const x = values(shape.batch * 3 * shape.frames * pixels, 1);
  const noise = values(shape.batch * 3 * latents.frames * latentPlane, 2, 2);
  const settings = Float32Array.of(1 / x.length, 1 / x.length, 0.5 / x.length);
  const kl = [0.1 / noise.length, 0.1 / noise.length] as const;
  using store = new WeightStore(gpu, weights);
  const sumsOf = async (states: States): Promise<Map<string, Float32Array>> => {
    const found = new Map<string, Float32Array>();
    for (const [name, { bytes }] of states.tensors)
      if (name.startsWith(stateName("gradient", ""))) found.set(name, new Float32Array(await gpu.read(states.buffer(name), 0, bytes)));
    return found;
  };
  const total = (data: Float32Array): number => data.reduce((a, b) => a + b, 0);

  const recipe: ClipRecipe = {
    config,
    weights,
    dtype: "f32",
    trained,
    again: true,
    objective(graph, made) {
      const { loss, gradient } = graph.unwatched(() => {
        const target = channelsLast(graph.input("target", [shape.batch, 3, made.dim(1), shape.height, shape.width]));
        return pixelLoss({ prediction: made, target, settings: graph.input("pixels", [3]) });
      });
      graph.output("loss", loss);
      return [{ of: made, gradient }];
    },
  };
  using states = clipStates(gpu, recipe);
  await initialise(gpu, weights, trained, states);
  using passes = new ClipPasses(gpu, store, states, recipe, shape);
  let rec = 0;
  const got = await passes.run({
    x,
    noise,
    kl,
    inputs: ({ madeStart, madeFrames }) => ({
      target: takeFrames(x, { start: madeStart, frames: madeFrames }, shape.frames, pixels, shape.batch * 3),
      pixels: settings,
    }),
    outputs: async (read) => void (rec += total(await read("loss"))),
  });

  const one: VaeRecipe = { config, weights, dtype: "f32", trained, part: "both", checkpointing: "blocks", whole: false };
  const graph = withSums(vaeMicro(one, { clips: shape.batch, frames: shape.frames, height: shape.height, width: shape.width }));
  const plan = compile(graph, gpu.caps);
  using all = new States(gpu, [plan]);
  await initialise(gpu, weights, trained, all);
  using program = await Program.create(gpu, plan, store, { states: all });
  const parts = [
    [0, 9, 0, 3],
    [9, 8, 3, 2],
  ] as const;
  const given = parts.flatMap(([start, frames, first, count], i) => [
    [`x.${i}`, takeFrames(x, { start, frames }, shape.frames, pixels, shape.batch * 3)] as const,
    [`noise.${i}`, takeFrames(noise, { start: first, frames: count }, latents.frames, latentPlane, shape.batch * 3)] as const,
  ]);
  await program.run({ inputs: { ...Object.fromEntries(given), pixels: settings, kl: Float32Array.from(kl), begun: new Float32Array(4) } });
  const told = async (name: string) => total(await program.read(`${name}.0`)) + total(await program.read(`${name}.1`));
  expect(rec / (await told("pixels"))).toBeCloseTo(1, 6);
  expect(total(got.kl) / (await told("kl"))).toBeCloseTo(1, 6);
  const [batches, whole] = [await sumsOf(states), await sumsOf(all)];
  expect([...batches.keys()].sort()).toEqual([...whole.keys()].sort());
  for (const [name, want] of whole) expect(relativeL2(batches.get(name)!, want), name).toBeLessThan(1e-6);

  await expect(passes.run({ x, noise: noise.subarray(1), kl })).rejects.toThrow(/^\[training\] noise must have the latents' 180 values/);
});
