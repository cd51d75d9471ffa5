/** Clips through the whole VAE by batches of frames, against the one graph in which short clips are trained: losses and gradients. */
import { expect, test } from "vitest";
import { takeFrames } from "../../src/models/vae/batches.ts";
import { Program } from "../../src/run/program.ts";
import { States } from "../../src/run/states.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { compile } from "../../src/plan/compile.ts";
import { initialise } from "../../src/training/initial-values.ts";
import { Programs } from "../../src/training/programs.ts";
import { withSums } from "../../src/training/step-graphs.ts";
import { stateName } from "../../src/training/update.ts";
import { ClipPasses } from "../../src/training/vae/clip-passes.ts";
import { judgedInitial } from "../../src/training/vae/judges.ts";
import { generatorInputs } from "../../src/training/vae/losses.ts";
import { ofPart, type TrainedPart, vaeMicro } from "../../src/training/vae/record.ts";
import { partsOfClip } from "../../src/training/vae/sample.ts";
import { vaeRecipe } from "../../src/training/vae/trained.ts";
import { relativeL2, values } from "../support/compare.ts";
import { memoryWeights, testGpu } from "../support/gpu.ts";
import { smallVae, smallVaeWeights } from "../support/small-vae.ts";
import { judges } from "../support/vae-training.ts";

const config = smallVae({ block_out_channels: [4, 8, 8], latent_channels: 3, temporal_compression_ratio: 4 });
const weighed = { l1: 1, mse: 0.5, perceptual: 0.5, kl: 0.1, disc: 0.3 };

const cases: readonly [TrainedPart, number, readonly ("lpips" | "discriminator")[], number][] = [
  ["both", 17, [], 2],
  ["decoder", 25, ["lpips"], 1],
  ["both", 17, ["lpips", "discriminator"], 1],
  ["encoder", 17, ["lpips", "discriminator"], 1],
];

test.for(cases)(
  "%s, %i frames, %o: the losses and gradients of one graph over the clip",
  { timeout: 60_000 },
  async ([part, frames, names, clips]) => {
    const gpu = await testGpu();
    const asked = { lpips: names.includes("lpips"), discriminator: names.includes("discriminator") };
    // A discriminator wants some patches of a picture, LPIPS 16 pixels a side.
    const side = names.length ? 16 : 8;
    const shape = { clips, frames, height: side, width: side + 4 };
    const latents = { frames: 1 + (frames - 1) / 4, plane: (shape.height / 4) * (shape.width / 4) };
    const weights = memoryWeights(smallVaeWeights(config, { seed: 40 }));
    const { lpips, discriminator } = judges();
    const recipe = vaeRecipe(
      { config, weights },
      { part, ...(asked.lpips ? { lpips } : {}), ...(asked.discriminator ? { discriminator } : {}) },
    );
    const plane = shape.height * shape.width;
    const x = values(clips * 3 * frames * plane, 1);
    const drawn = values(clips * 3 * latents.frames * latents.plane, 2, 2);
    const parts = partsOfClip(config, frames);
    const sizes = { pixels: x.length, latents: drawn.length, pictures: parts.map((one) => clips * one.frames) };
    const losses = (graph: Parameters<typeof generatorInputs>[0]) => generatorInputs(graph, sizes, weighed, { scale: 4 });
    using store = new WeightStore(gpu, recipe.weights);

    const whole = withSums(vaeMicro(recipe, shape, asked));
    const plan = compile(whole, gpu.caps);
    const sumsOf = async (states: States): Promise<Map<string, Float32Array>> => {
      const found = new Map<string, Float32Array>();
      for (const [name, { bytes }] of states.tensors)
        if (name.startsWith(stateName("gradient", ""))) found.set(name, new Float32Array(await gpu.read(states.buffer(name), 0, bytes)));
      return found;
    };
    using states = new States(gpu, [plan]);
    await initialise(gpu, weights, judgedInitial(recipe.trained, recipe.judges), states);
    using program = await Program.create(gpu, plan, store, { states });
    const given: Record<string, Float32Array> = { ...losses(whole), begun: new Float32Array(4) };
    for (const [i, of] of parts.entries()) {
      const pixels = { start: of.firstFrame, frames: of.frames };
      given[ofPart("x", i)] = takeFrames(x, pixels, frames, plane, clips * 3);
      const own = { start: of.firstLatent, frames: of.latents };
      given[ofPart(part === "decoder" ? "z" : "noise", i)] = takeFrames(drawn, own, latents.frames, latents.plane, clips * 3);
    }
    await program.run({ inputs: given });
    const [wanted, gradients] = [new Map<string, Float32Array>(), await sumsOf(states)];
    for (const name of whole.outputs.keys()) wanted.set(name, await program.read(name));

    // Running statistics of norms begin anew.
    await initialise(gpu, weights, judgedInitial(recipe.trained, recipe.judges), states);
    using programs = new Programs(gpu, store, states);
    using passes = new ClipPasses(gpu, programs, states, recipe, shape);
    const { outputs, flops } = await passes.run({ x, drawn, asked, losses, begun: false });
    expect(flops).toBeGreaterThan(plan.cost.flops);
    const total = (of: (name: string) => Float32Array | undefined, loss: string) =>
      [0, 1, 2].flatMap((i) => [...(of(`${loss}.${i}`) ?? [])]).reduce((a, b) => a + b, 0);
    for (const loss of ["pixels", ...(part === "decoder" ? [] : ["kl"]), ...(asked.lpips ? ["lpips"] : [])])
      expect(total((name) => outputs[name], loss) / total((name) => wanted.get(name), loss), loss).toBeCloseTo(1, 6);
    for (const name of ["generator", "made", ...(part === "encoder" ? [] : ["adaptive"])].filter(() => asked.discriminator))
      expect(relativeL2(outputs[name]!, wanted.get(name)!), name).toBeLessThan(1e-6);
    const once = await sumsOf(states);
    expect([...once.keys()].sort()).toEqual([...gradients.keys()].sort());
    const both = [once, gradients].map((of) => Float32Array.from([...gradients.keys()].flatMap((name) => [...of.get(name)!])));
    expect(relativeL2(both[0]!, both[1]!)).toBeLessThan(1e-6);
    // A tensor by itself, whose terms may cancel, within ten times that.
    for (const [name, want] of gradients) expect(relativeL2(once.get(name)!, want), name).toBeLessThan(1e-5);

    await passes.run({ x, drawn, asked, losses, begun: true });
    for (const [name, twice] of await sumsOf(states))
      expect(
        relativeL2(
          twice,
          once.get(name)!.map((g) => 2 * g),
        ),
        name,
      ).toBeLessThan(1e-6);
  },
);
