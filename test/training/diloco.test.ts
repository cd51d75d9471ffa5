/** Replicas that train apart and meet now and then: what they exchange, the outer optimizer, and runs that are those of one device. */
import { expect, test } from "vitest";
import { openSafetensors } from "../../src/files/safetensors.ts";
import { memorySource } from "../../src/sources/memory.ts";
import { EXCHANGE_BLOCK, exchangeBytes, exchanged, innerValue } from "../../src/training/diloco/exchange.ts";
import type { DilocoOptions } from "../../src/training/diloco/options.ts";
import { outerStep } from "../../src/training/diloco/outer-step.ts";
import type { TrainOptions } from "../../src/training/options.ts";
import { train } from "../../src/training/train.ts";
import { values } from "../support/compare.ts";
import { taken, tinyClips, tinyTransformer } from "../support/tiny-training.ts";

const PLAIN: DilocoOptions = { steps: 1, replicas: 1, outerLr: 1, outerMomentum: 0, exchange: "f32" };

/** The tensors of a checkpoint, those of some names left out. */
async function tensorsOf(saved: Uint8Array<ArrayBuffer>, without = /^$/): Promise<Map<string, Uint8Array>> {
  const file = await openSafetensors(memorySource({ saved }), "saved");
  const found = new Map<string, Uint8Array>();
  for (const name of [...file.tensors.keys()].sort())
    if (!without.test(name)) found.set(name.replace(/^replica 0:/, ""), (await file.read(name)).bytes);
  return new Map([...found].sort(([a], [b]) => (a < b ? -1 : 1)));
}

test("8 bits by blocks: halves go to the even step, the largest value keeps its own, and a block of zeros is none", () => {
  const outer = new Float32Array(2 * EXCHANGE_BLOCK + 3);
  // The largest way is 127 steps of 1.
  outer.set([127, 0.5, 1.5, 2.5, -0.5, -1.5, 0.49, -127, 1e-3]);
  outer.fill(1e-45, 2 * EXCHANGE_BLOCK);
  const given = exchanged("int8", outer, new Float32Array(outer.length), "x");
  if (!("steps" in given)) throw new Error("not in 8 bits");
  expect([...given.steps.subarray(0, 9)]).toEqual([127, 0, 2, 2, 0, -2, 0, -127, 0]);
  expect([...given.scales]).toEqual([1, 0, 0]);
  expect(exchangeBytes("int8", outer.length)).toBe(given.steps.byteLength + given.scales.byteLength);
  const [a, b] = [values(1000, 1), values(1000, 2, 3)];
  const way = exchanged("int8", a, b, "x");
  if (!("steps" in way)) throw new Error("not in 8 bits");
  for (const [i, value] of b.entries())
    expect(Math.abs(innerValue(way, a, i) - value)).toBeLessThanOrEqual(0.5001 * way.scales[Math.floor(i / EXCHANGE_BLOCK)]!);
  expect(() => exchanged("int8", a, b.with(3, Number.NaN), "to_q")).toThrow(/a replica must come to finite values, got NaN in to_q/);
});

test("the outer step is torch's SGD with Nesterov's momentum", () => {
  // torch 2.9.0: torch.optim.SGD([p], lr=0.7, momentum=0.9, nesterov=True) in float64, with p.grad = p − mean, three steps.
  const torch = [
    [0.1675, -0.9175, 2.16625],
    [0.467975, -0.552975, 1.3510125],
    [-0.25972925, -0.25997075, 1.567689625],
  ];
  const means = [
    [0.25, -1, 2.125],
    [0.5, -0.75, 1.5],
    [-0.125, -0.5, 1.75],
  ];
  const [outer, momentum] = [Float32Array.of(0.5, -1.25, 2), new Float32Array(3)];
  for (const [i, mean] of means.entries()) {
    // Two replicas about the mean.
    const replicas = [-1, 1].map((side) => ({ values: Float32Array.from(mean, (value) => value + side * 0.0625) }));
    outerStep(outer, momentum, replicas, { outerLr: 0.7, outerMomentum: 0.9 });
    for (const [j, value] of outer.entries()) expect(Math.abs(value - torch[i]![j]!)).toBeLessThan(3e-7);
  }
});

const kinds: [string, TrainOptions][] = [
  ["an adapter", { steps: 4, batch: 2, lora: { rank: 3 }, maxGradNorm: 0.1, schedule: { name: "cosine", warmupSteps: 2 } }],
  [
    "the model, in 8-bit means and stages",
    { stages: [{ steps: 1 }, { steps: 2, lr: 1e-3 }], accumulation: 2, full: true, optimizer: { bits: 8 } },
  ],
];
test.each(kinds)(
  "one replica that meets itself after each step is plain training, to the byte: %s",
  async (_, options) => {
    const model = await tinyTransformer();
    const data = tinyClips(model, 5);
    const plain = await taken(model, data, options);
    const alone = await taken(model, data, { ...options, diloco: PLAIN });
    const three = await taken(model, data, { ...options, diloco: { ...PLAIN, steps: 3 } });
    expect(await tensorsOf(three.saved, /^outer momentum:/)).toEqual(await tensorsOf(plain.saved));
    expect(await tensorsOf(alone.saved, /^outer momentum:/)).toEqual(await tensorsOf(plain.saved));
    const told = (steps: typeof plain.steps) => steps.map(({ seconds: _, round: __, ...step }) => step);
    expect(told(alone.steps)).toEqual(told(plain.steps));
  },
  60_000,
);

const RUN: TrainOptions = { steps: 5, lora: { rank: 4 }, optimizer: { lr: 1e-2 }, diloco: { steps: 2, replicas: 3 } };

test("a run in rounds learns, draws its timesteps over all replicas, and goes on after a break to the same bytes", async () => {
  const model = await tinyTransformer();
  const data = tinyClips(model, 5);
  const whole = await taken(model, data, RUN);
  expect(whole.steps.map(({ step, round }) => [step, round])).toEqual(
    [2, 4, 5].map((step, i) => [step, { steps: i < 2 ? 2 : 1, skipped: 0, sent: 0, received: 0 }]),
  );
  // Of replicas in their order: in each of the two steps one timestep of each third.
  for (const first of [0, 1]) {
    const drawn = whole.steps[0]!.clips.filter((_, i) => i % 2 === first).map(({ timestep }) => Math.floor((3 * timestep) / 1000));
    expect(drawn.sort()).toEqual([0, 1, 2]);
  }
  const first = await taken(model, data, RUN, 2);
  // Broken off within a round: nothing of the round is left.
  const ended = new AbortController();
  await using broken = train(model, data, { ...RUN, resume: first.saved, signal: ended.signal });
  await broken.open();
  const before = await broken.adapter();
  const going = broken[Symbol.asyncIterator]().next();
  setTimeout(() => ended.abort(new Error("enough")), 30);
  await expect(going).rejects.toThrow("enough");
  expect(await broken.save()).toEqual(first.saved);
  expect(await broken.adapter()).toEqual(before);
  expect((await taken(model, data, { ...RUN, resume: first.saved })).saved).toEqual(whole.saved);
  await expect(taken(model, data, { ...RUN, diloco: { steps: 2, replicas: 2 }, resume: first.saved })).rejects.toThrow(/another diloco/);
}, 60_000);

test("in 8 bits a run loses about what it loses in f32; an optimizer that begins anew keeps nothing", async () => {
  const model = await tinyTransformer();
  const data = tinyClips(model, 4);
  const options: TrainOptions = { steps: 24, full: true, optimizer: { lr: 3e-3 }, timesteps: "uniform" };
  const lossOf = async (diloco: Partial<DilocoOptions>): Promise<number> => {
    await using run = train(model, data, { ...options, diloco: { steps: 4, ...diloco } });
    for await (const _ of run);
    return (await run.validate(data)).reduce((a, b) => a + b, 0) / 5;
  };
  await using untrained = train(model, data, options);
  const before = (await untrained.validate(data)).reduce((a, b) => a + b, 0) / 5;
  const [f32, int8, fresh] = [await lossOf({ exchange: "f32" }), await lossOf({}), await lossOf({ innerState: "fresh" })];
  expect(f32).toBeLessThan(0.8 * before);
  expect(Math.abs(int8 - f32)).toBeLessThan(0.02 * f32);
  expect(fresh).toBeLessThan(0.9 * before);
  const kept = await tensorsOf((await taken(model, data, { ...options, steps: 2, diloco: { steps: 1, innerState: "fresh" } })).saved);
  expect([...kept.keys()].filter((name) => name.startsWith("replica"))).toEqual([]);
}, 60_000);

test("what no run can be is refused by name", async () => {
  const model = await tinyTransformer();
  const refused = (options: TrainOptions): Promise<unknown> => taken(model, tinyClips(model, 1), { ...RUN, ...options }).catch(String);
  expect(await refused({ ema: { decay: 0.9 } })).toMatch(/\[training\] a run by diloco has no ema .* got it; leave it out/);
  expect(await refused({ diloco: { steps: 0 } })).toMatch(/diloco's steps must be a whole number from 1, got 0/);
  expect(await refused({ diloco: { steps: 1, outerMomentum: 1 } })).toMatch(/outerMomentum must be a number from 0 to below 1, got 1/);
  expect(await refused({ diloco: { steps: 1, exchange: "int4" as "int8" } })).toMatch(/exchange must be int8 or f32|int4/);
});
