/** A half of a VAE over a clip in batches of frames, backward in reverse order: against one graph over all of them, and with blocks again. */
import { describe, expect, test } from "vitest";
import { differentiate } from "../../src/gradient/differentiate.ts";
import { watch } from "../../src/gradient/watch.ts";
import { Graph } from "../../src/graph/graph.ts";
import type { Tensor } from "../../src/graph/tensor.ts";
import { placeFrames, takeFrames, vaeWeights, weightTypes } from "../../src/models/vae/batches.ts";
import { recordDecoder, recordEncoder } from "../../src/models/vae/forward.ts";
import { channelsFirst, channelsLast } from "../../src/ops/channels.ts";
import { pixelLoss } from "../../src/ops/pixel_loss.ts";
import { runGraph } from "../../src/run/run-graph.ts";
import type { States } from "../../src/run/states.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { fullParameters } from "../../src/training/full.ts";
import { initialise } from "../../src/training/initial-values.ts";
import { stateName } from "../../src/training/update.ts";
import { clipBatches, FrameBatches, halfStates } from "../../src/training/vae/frame-batches.ts";
import type { HalfRecipe } from "../../src/training/vae/half-graphs.ts";
import { checkpointing } from "../../src/training/vae/recompute.ts";
import { relativeL2, values } from "../support/compare.ts";
import { memoryWeights, testGpu } from "../support/gpu.ts";
import { smallVae, smallVaeWeights } from "../support/small-vae.ts";

const config = smallVae({ latent_channels: 3 });
const parts = [
  // 9 + 8 + 8 frames, 3 + 2 + 2 latents.
  { part: "encode", channels: 3, made: 6, shape: { batch: 2, frames: 25, height: 6, width: 10 }, ratio: 1 / 2 },
  { part: "decode", channels: 3, made: 3, shape: { batch: 2, frames: 7, height: 3, width: 5 }, ratio: 2 },
] as const;
type Part = (typeof parts)[number];

const tableOf = (part: "encode" | "decode") => smallVaeWeights(config, { parts: [part], seed: 20 });
const weightsOf = (part: "encode" | "decode") => memoryWeights(tableOf(part));

const recipeOf = ({ part }: Part, more: Partial<HalfRecipe> = {}): HalfRecipe => ({
  config,
  weights: weightsOf(part),
  part,
  dtype: "f32",
  trained: fullParameters(vaeWeights(config, [part]).keys()),
  again: true,
  ofInput: true,
  ...more,
});

const sizes = ({ channels, made, shape: { batch, frames, height, width }, part, ratio }: Part) => {
  const batches = clipBatches({ config, part }, { frames });
  const total = batches.reduce((n, b) => n + b.madeFrames, 0);
  const [plane, madePlane] = [height * width, height * ratio * width * ratio];
  return { batches, total, plane, madePlane, x: batch * channels * frames * plane, y: batch * made * total * madePlane };
};

/** Gradients by name, of the input under "x", and the result. */
async function byBatches(of: Part, recipe: HalfRecipe, x: Float32Array, dy: Float32Array) {
  const gpu = await testGpu();
  using store = new WeightStore(gpu, weightsOf(of.part));
  using states = halfStates(gpu, recipe);
  await initialise(gpu, weightsOf(of.part), recipe.trained, states);
  using half = await FrameBatches.create(gpu, store, states, recipe, of.shape);
  const y = await half.forward(x);
  const { dx } = await half.backward({ cotangent: dy });
  return { y, gradients: new Map([...(dx ? [["x", dx] as const] : []), ...(await sumsOf(states))]) };
}

async function sumsOf(states: States): Promise<[string, Float32Array][]> {
  const gpu = await testGpu();
  const prefix = stateName("gradient", "");
  const sums = [...states.tensors].filter(([name]) => name.startsWith(prefix));
  return Promise.all(
    sums.map(async ([name, { bytes }]) => [name.slice(prefix.length), new Float32Array(await gpu.read(states.buffer(name), 0, bytes))]),
  );
}

/** All batches in one graph: the result batch by batch, and gradients. */
async function inOneGraph(of: Part, x: Float32Array, dy: Float32Array) {
  const gpu = await testGpu();
  const { channels, made, shape } = of;
  const { batches, total, plane, madePlane } = sizes(of);
  const table = tableOf(of.part);
  const inputs: Record<string, Float32Array> = {};
  const given = (name: string, of: readonly number[], data: Float32Array): Tensor => {
    inputs[name] = data;
    return graph.input(name, of);
  };
  const watched = new Map<string, Tensor>();
  const graph: Graph = new Graph("one", weightTypes(weightsOf(of.part)), ({ names, shape: own }) => {
    const name = names.join("+");
    watched.set(name, watch(given(name, own, table[name]!.data)));
    return watched.get(name);
  });
  let before = new Map<string, Tensor>();
  const cotangents = batches.map((each, i) => {
    const next = new Map<string, Tensor>();
    const own = [shape.batch, channels, each.frames, shape.height, shape.width];
    const input = watch(given(`x.${i}`, own, takeFrames(x, each, shape.frames, plane, shape.batch * channels)));
    watched.set(`x.${i}`, input);
    const caches = {
      ...(i ? { before: (prefix: string) => before.get(prefix)! } : {}),
      keep: (prefix: string, frames: Tensor) => void next.set(prefix, frames),
    };
    const record = of.part === "encode" ? recordEncoder : recordDecoder;
    const y = graph.scope(`part.${i}`, () => record({ graph, config, dtype: "f32", caches }, channelsLast(input)));
    before = next;
    const result = channelsFirst(y, made);
    graph.output(`y.${i}`, result);
    const part = { start: each.madeStart, frames: each.madeFrames };
    return { of: result, gradient: given(`dy.${i}`, result.shape, takeFrames(dy, part, total, madePlane, shape.batch * made)) };
  });
  const found = differentiate(cotangents, [...watched.values()], checkpointing(config, true));
  for (const [i, name] of [...watched.keys()].entries()) graph.output(`gradient of ${name}`, found[i]!);
  const got = await runGraph(gpu, graph, inputs);
  const whole = (prefix: string, count: number, rows: number, frames: number, plane: number, of: (i: number) => [number, number]) => {
    const out = new Float32Array(rows * frames * plane);
    for (let i = 0; i < count; i++) placeFrames(got[`${prefix}${i}`]!, of(i)[1], out, of(i)[0], frames, plane);
    return out;
  };
  const gradients = new Map(
    [...watched.keys()].filter((name) => !name.startsWith("x.")).map((name) => [name, got[`gradient of ${name}`]!]),
  );
  gradients.set(
    "x",
    whole("gradient of x.", batches.length, shape.batch * channels, shape.frames, plane, (i) => [batches[i]!.start, batches[i]!.frames]),
  );
  const y = whole("y.", batches.length, shape.batch * made, total, madePlane, (i) => [batches[i]!.madeStart, batches[i]!.madeFrames]);
  return { y, gradients };
}

describe.each(parts)("$part", (of) => {
  const size = sizes(of);
  const [x, dy] = [values(size.x, 1), values(size.y, 2)];

  test("batch by batch has the gradients of one graph over all of them", async () => {
    const [one, batches] = [await inOneGraph(of, x, dy), await byBatches(of, recipeOf(of), x, dy)];
    expect(relativeL2(batches.y, one.y)).toBeLessThan(1e-6);
    expect([...batches.gradients.keys()].sort()).toEqual([...one.gradients.keys()].sort());
    for (const [name, want] of one.gradients) expect(relativeL2(batches.gradients.get(name)!, want), name).toBeLessThan(1e-6);
  });

  test("has the same bytes with blocks computed again, and with everything kept", async () => {
    const [again, kept] = [await byBatches(of, recipeOf(of), x, dy), await byBatches(of, recipeOf(of, { again: false }), x, dy)];
    for (const [name, want] of kept.gradients) expect(again.gradients.get(name), name).toEqual(want);
  });

  test("of some parameters alone, added to gradients that are there, has theirs", async () => {
    const gpu = await testGpu();
    const names = [...vaeWeights(config, [of.part]).keys()].filter((name) => name.includes("conv_out") || name.includes("mid_block"));
    const all = await byBatches(of, recipeOf(of), x, dy);
    const recipe = recipeOf(of, { trained: fullParameters(names), ofInput: false });
    using store = new WeightStore(gpu, weightsOf(of.part));
    using states = halfStates(gpu, recipe);
    await initialise(gpu, weightsOf(of.part), recipe.trained, states);
    using half = await FrameBatches.create(gpu, store, states, recipe, of.shape);
    for (const begun of [false, true]) {
      await half.forward(x);
      expect(await half.backward({ cotangent: dy, begun })).toEqual({});
    }
    const sums = await sumsOf(states);
    expect(sums.map(([name]) => name).sort()).toEqual(names.sort());
    for (const [name, sum] of sums)
      expect(
        relativeL2(
          sum,
          all.gradients.get(name)!.map((g) => 2 * g),
        ),
        name,
      ).toBeLessThan(1e-6);
  });
});

test("a decoder's loss is told batch by batch, and its gradient is that of the loss", async () => {
  const of = parts[1];
  const { batches, total, madePlane, x: count, y } = sizes(of);
  const [z, target] = [values(count, 1), values(y, 3)];
  const { batch } = of.shape;
  const gpu = await testGpu();
  const recipe = recipeOf(of, {
    objective: (graph, made) => {
      const { loss, gradient } = graph.unwatched(() =>
        pixelLoss({
          prediction: made,
          target: channelsLast(graph.input("target", [batch, 3, made.dim(1), made.dim(2), made.dim(3)])),
          settings: graph.input("settings", [3]),
        }),
      );
      graph.output("loss", loss);
      return [{ of: made, gradient }];
    },
  });
  using store = new WeightStore(gpu, weightsOf(of.part));
  using states = halfStates(gpu, recipe);
  await initialise(gpu, weightsOf(of.part), recipe.trained, states);
  using half = await FrameBatches.create(gpu, store, states, recipe, of.shape);
  const made = await half.forward(z);
  let loss = 0;
  const order: number[] = [];
  const { dx } = await half.backward({
    inputs: ({ madeStart, madeFrames }) => ({
      target: takeFrames(target, { start: madeStart, frames: madeFrames }, total, madePlane, batch * 3),
      settings: Float32Array.of(1 / y, 1 / y, 0),
    }),
    outputs: async (read, _, index) => {
      order.push(index);
      const losses = await read("loss");
      loss += losses.subarray(0, losses.length / 2).reduce((sum, v) => sum + v, 0);
    },
  });
  expect(order).toEqual(batches.map((_, i) => i).reverse());
  expect(loss).toBeCloseTo(
    made.reduce((sum, v, i) => sum + Math.abs(v - target[i]!) / y, 0),
    5,
  );
  const dy = made.map((v, i) => Math.sign(v - target[i]!) / y);
  expect(relativeL2(dx!, (await byBatches(of, recipeOf(of), z, dy)).gradients.get("x")!)).toBeLessThan(1e-6);
});

test("what has no clip, or two beginnings, is refused", async () => {
  const gpu = await testGpu();
  const of = parts[1];
  const recipe = recipeOf(of);
  using store = new WeightStore(gpu, weightsOf(of.part));
  using states = halfStates(gpu, recipe);
  using half = await FrameBatches.create(gpu, store, states, recipe, of.shape);
  await expect(half.backward({ cotangent: new Float32Array(1) })).rejects.toThrow(
    /^\[training\] gradients are of a clip that went forward/,
  );
  await expect(half.forward(new Float32Array(3))).rejects.toThrow(/^\[training\] a clip must have 6 × 7 × 15 values, got 3/);
  await half.forward(values(sizes(of).x, 1));
  await expect(half.backward()).rejects.toThrow(/^\[training\] gradients begin with a cotangent, or with the recipe's objective/);
  await expect(half.backward({ cotangent: new Float32Array(1) })).rejects.toThrow(/^\[training\] a cotangent must have 6 × /);
});
