/** What explicit uniform sampling is for: the loss of a step varies less than with independent draws. */
import { expect, test } from "vitest";
import { compile } from "../../src/plan/compile.ts";
import { Program } from "../../src/run/program.ts";
import { States } from "../../src/run/states.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { transformerWeights } from "../../src/models/cogvideox/weights.ts";
import { NoiseLevels } from "../../src/training/batch.ts";
import { fullParameters } from "../../src/training/full.ts";
import { initialise } from "../../src/training/initial-values.ts";
import { microStep } from "../../src/training/record.ts";
import { withSums } from "../../src/training/step-graphs.ts";
import { timestepsOf } from "../../src/training/timesteps.ts";
import { values } from "../support/compare.ts";
import { tinyClips, tinyTransformer } from "../support/tiny-training.ts";

const CLIPS = 50;
const STEPS = 1000;
const DRAWS = 8;

/** The loss of one clip under one noise at every timestep, by the training graph. */
async function losses(): Promise<Float32Array> {
  const model = await tinyTransformer();
  const { gpu, config: c } = model;
  const trained = fullParameters(transformerWeights(c).keys());
  const [clip] = tinyClips(model, 1);
  const [frames, , height, width] = clip!.shape;
  const shape = { clips: CLIPS, frames, height, width, textLength: c.max_text_seq_length };
  const recipe = { config: c, weights: model.weights, dtype: "f32", trained, checkpointing: "none" } as const;
  const graph = withSums(microStep(recipe, shape));
  using states = new States(gpu, [{ graph }]);
  using store = new WeightStore(gpu, model.weights);
  await initialise(gpu, model.weights, trained, states);
  using program = await Program.create(gpu, compile(graph, gpu.caps), store, { states });
  const levels = new NoiseLevels(model.scheduler);
  const repeated = (data: Float32Array) => Float32Array.from({ length: CLIPS * data.length }, (_, i) => data[i % data.length]!);
  const [latents, noise, text] = [clip!.latents, values(clip!.latents.length, 77, Math.sqrt(3)), clip!.text].map(repeated) as [
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  const all = new Float32Array(1000);
  for (let first = 0; first < 1000; first += CLIPS) {
    const timesteps = Array.from({ length: CLIPS }, (_, i) => first + i);
    const table = levels.table({ shape, latents, noise, text, timesteps }, 1, 1);
    await program.run({
      inputs: { latents, noise, text, levels: table, timestep: Float32Array.from(timesteps), begun: new Float32Array(4) },
    });
    all.set(await program.read("loss"), first);
  }
  return all;
}

test("over 1,000 steps, with the same model, data and noise", { timeout: 120_000 }, async () => {
  const byTimestep = await losses();
  const varianceOf = (sampling: "uniform" | "random"): number => {
    const each = Array.from({ length: STEPS }, (_, step) =>
      timestepsOf(sampling, { seed: 11, step, rank: 0, ranks: 1, count: DRAWS }).reduce((sum, t) => sum + byTimestep[t]! / DRAWS, 0),
    );
    const mean = each.reduce((a, b) => a + b, 0) / STEPS;
    return each.reduce((sum, loss) => sum + (loss - mean) ** 2, 0) / STEPS;
  };
  const [uniform, random] = [varianceOf("uniform"), varianceOf("random")];
  expect(random).toBeGreaterThan(0);
  // A stratum holds an eighth of the timesteps, and losses change slowly with them.
  expect(uniform).toBeLessThan(random / 4);
});
