/** Gradients of a clip that workers share in time: those of one graph over the clip, and the bytes of one worker. */
import { expect, test } from "vitest";
import { differentiate } from "../../../src/gradient/differentiate.ts";
import { watch } from "../../../src/gradient/watch.ts";
import { Graph } from "../../../src/graph/graph.ts";
import type { Tensor } from "../../../src/graph/tensor.ts";
import {
  decodedFrames,
  encodedFrames,
  frameBatches,
  LATENT_BATCH,
  placeFrames,
  SAMPLE_BATCH,
  takeFrames,
} from "../../../src/models/vae/batches.ts";
import { spatialRatio } from "../../../src/models/vae/config.ts";
import { recordDecoder, recordEncoder } from "../../../src/models/vae/forward.ts";
import { channelsFirst, channelsLast } from "../../../src/ops/channels.ts";
import { runGraph as runOnce } from "../../../src/run/run-graph.ts";
import { WeightStore } from "../../../src/run/weight-store.ts";
import type { Unit } from "../../../src/models/vae/split/units.ts";
import { recordGeneratorLosses } from "../../../src/training/vae/losses.ts";
import { clipGradients } from "../../../src/training/vae/workers/gradients.ts";
import { relativeL2, values } from "../../support/compare.ts";
import { memoryWeights, testGpu } from "../../support/gpu.ts";
import { smallVae, smallVaeWeights } from "../../support/small-vae.ts";

const config = smallVae({ block_out_channels: [6, 12], latent_channels: 3, norm_num_groups: 3 });

interface Case {
  readonly part: "encode" | "decode";
  readonly batch: number;
  /** Of what goes in. */
  readonly frames: number;
  readonly height: number;
  readonly width: number;
}

const parameters = (part: Case["part"]) => smallVaeWeights(config, { parts: [part] });

/** What goes in, and a cotangent of what comes out. */
function clip({ part, batch, frames, height, width }: Case) {
  const encodes = part === "encode";
  const ratio = spatialRatio(config) ** (encodes ? -1 : 1);
  const batches = frameBatches(frames, encodes ? SAMPLE_BATCH : LATENT_BATCH);
  const made = batches.map((one) => (encodes ? encodedFrames : decodedFrames)(config, one.frames));
  const [rows, madeRows] = encodes ? [config.in_channels, 2 * config.latent_channels] : [config.latent_channels, config.out_channels];
  const [plane, madePlane] = [height * width, height * width * ratio ** 2];
  const total = made.reduce((a, b) => a + b, 0);
  const x = values(batch * rows * frames * plane, 3);
  const dy = values(batch * madeRows * total * madePlane, 4);
  return { batches, made, total, rows: batch * rows, madeRows: batch * madeRows, plane, madePlane, x, dy };
}

/** One graph over all batches of frames, each with its own statistics. */
async function oneGraph(each: Case) {
  const { part, batch, height, width } = each;
  const { batches, made, total, rows, madeRows, plane, madePlane, x, dy } = clip(each);
  const given = parameters(part);
  const wanted = new Map<string, Tensor>();
  const graph = new Graph(
    "clip",
    () => "f32",
    ({ names, shape }, into) => {
      const tensor = watch(into.input(names[0]!, shape));
      wanted.set(names[0]!, tensor);
      return tensor;
    },
  );
  const inputs: Record<string, Float32Array> = Object.fromEntries(Object.entries(given).map(([name, { data }]) => [name, data]));
  const kept = new Map<string, Tensor>();
  const [xs, cotangents]: [Tensor[], { of: Tensor; gradient: Tensor }[]] = [[], []];
  let start = 0;
  for (const [i, one] of batches.entries()) {
    const input = watch(graph.input(`x${i}`, [batch, rows / batch, one.frames, height, width]));
    xs.push(input);
    const caches = {
      ...(i > 0 ? { before: (prefix: string) => kept.get(prefix)! } : {}),
      ...(i < batches.length - 1 ? { keep: (prefix: string, frames: Tensor) => void kept.set(prefix, frames) } : {}),
    };
    const y = (part === "encode" ? recordEncoder : recordDecoder)({ graph, config, dtype: "f32", caches }, channelsLast(input));
    const of = channelsFirst(y, madeRows / batch);
    graph.output(`y${i}`, of);
    cotangents.push({ of, gradient: graph.input(`dy${i}`, of.shape) });
    inputs[`x${i}`] = takeFrames(x, one, each.frames, plane, rows);
    inputs[`dy${i}`] = takeFrames(dy, { start, frames: made[i]! }, total, madePlane, madeRows);
    start += made[i]!;
  }
  const list = [...xs, ...wanted.values()];
  for (const [i, gradient] of differentiate(cotangents, list).entries()) graph.output(`d ${list[i]!.name}`, gradient!);
  const out = await runOnce(await testGpu(), graph, inputs);
  const [y, dx] = [new Float32Array(dy.length), new Float32Array(x.length)];
  start = 0;
  for (const [i, one] of batches.entries()) {
    placeFrames(out[`y${i}`]!, made[i]!, y, start, total, madePlane);
    placeFrames(out[`d x${i}`]!, one.frames, dx, one.start, each.frames, plane);
    start += made[i]!;
  }
  return { y, dx, weights: new Map([...wanted.keys()].map((name) => [name, out[`d ${name}`]!])) };
}

test.for<[Case, number[]]>([
  [{ part: "encode", batch: 1, frames: 17, height: 4, width: 6 }, [2, 3, 4]],
  [{ part: "encode", batch: 1, frames: 33, height: 2, width: 4 }, [4]],
  [{ part: "decode", batch: 1, frames: 5, height: 2, width: 3 }, [2, 3, 4]],
  [{ part: "decode", batch: 1, frames: 9, height: 1, width: 2 }, [4]],
  [{ part: "encode", batch: 2, frames: 10, height: 2, width: 4 }, [3]],
])("%o over %o", async ([each, counts]) => {
  const gpu = await testGpu();
  using weights = new WeightStore(gpu, memoryWeights(parameters(each.part)));
  const { x, dy } = clip(each);
  const gradients = (workers: number) => clipGradients({ gpu, weights, config }, x, dy, { ...each, dtype: "f32", workers });
  const [whole, one] = [await oneGraph(each), await gradients(1)];
  expect(relativeL2(one.y, whole.y)).toBeLessThan(1e-6);
  expect(relativeL2(one.dx, whole.dx)).toBeLessThan(1e-6);
  expect([...one.weights.keys()].sort()).toEqual([...whole.weights.keys()].sort());
  // As one vector; a tensor by itself, whose terms may cancel, within ten times that.
  const [got, want] = [one, whole].map(({ weights }) => [...whole.weights.keys()].flatMap((name) => [...weights.get(name)!]));
  expect(relativeL2(got!, want!)).toBeLessThan(1e-6);
  for (const [name, gradient] of whole.weights) expect(relativeL2(one.weights.get(name)!, gradient), name).toBeLessThan(1e-5);
  for (const workers of counts) {
    const split = await gradients(workers);
    expect(split.reports.length).toBe(workers);
    for (const [name, gradient] of [...one.weights, ["y", one.y], ["dx", one.dx]] as const) {
      const got = name === "y" ? split.y : name === "dx" ? split.dx : split.weights.get(name)!;
      expect(Buffer.from(got.buffer).equals(Buffer.from(gradient.buffer)), `${name} of ${workers} workers`).toBe(true);
    }
  }
});

test("losses of each latent frame, in place of a cotangent; f16; what is not trained has no gradient", async () => {
  const gpu = await testGpu();
  const each: Case = { part: "decode", batch: 1, frames: 5, height: 1, width: 2 };
  const { x, made, total, rows, madePlane } = clip(each);
  const target = values(3 * total * madePlane, 6);
  const at = (unit: Unit) => (unit.index === 0 ? 0 : 1 + 2 * (unit.index - 1));
  for (const dtype of gpu.caps.f16 ? (["f32", "f16"] as const) : (["f32"] as const)) {
    using weights = new WeightStore(gpu, memoryWeights(parameters("decode"), dtype));
    const gradients = (workers: number) =>
      clipGradients({ gpu, weights, config }, x, undefined, {
        ...each,
        dtype,
        workers,
        trained: (name) => name.startsWith("decoder.up_blocks.1") || name.startsWith("decoder.conv_out"),
        objective: (graph, parts) =>
          recordGeneratorLosses(
            graph,
            parts.map((part, i) => ({
              made: part.made,
              target: channelsLast(graph.input(`target.${i}`, [1, 3, ...part.made.shape.slice(1, 4)])),
            })),
            { latents: rows },
          ),
        objectiveInputs: (units) => ({
          pixels: Float32Array.of(1, 1 / target.length, 0),
          ...Object.fromEntries(
            units.map((unit, i) => [`target.${i}`, takeFrames(target, { start: at(unit), frames: unit.gives }, total, madePlane, 3)]),
          ),
        }),
      });
    const [one, three] = [await gradients(1), await gradients(3)];
    expect(made).toEqual([5, 4]);
    expect([...one.weights.keys()].every((name) => /^decoder\.(up_blocks\.1|conv_out)/.test(name))).toBe(true);
    expect(one.weights.get("decoder.conv_out.conv.bias")!.some((v) => v !== 0)).toBe(true);
    for (const [name, gradient] of one.weights)
      expect(Buffer.from(three.weights.get(name)!.buffer).equals(Buffer.from(gradient.buffer)), `${dtype} ${name}`).toBe(true);
    expect(Buffer.from(three.dx.buffer).equals(Buffer.from(one.dx.buffer)), dtype).toBe(true);
    // Each unit's own loss, wherever it is.
    const losses = ({ outputs }: typeof one) =>
      outputs.flatMap((told) => [...told].filter(([name]) => name.startsWith("pixels.")).flatMap(([, v]) => [...v]));
    expect(losses(three)).toEqual(losses(one));
    expect(losses(one).length).toBeGreaterThanOrEqual(5);
  }
  using weights = new WeightStore(gpu, memoryWeights(parameters("decode")));
  await expect(clipGradients({ gpu, weights, config }, x, undefined, { ...each, dtype: "f32", workers: 2 })).rejects.toThrow(
    "[training] gradients begin with a cotangent or with an objective, got both or none; give one",
  );
});
