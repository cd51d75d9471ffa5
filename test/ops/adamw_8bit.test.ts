import { describe, expect, test } from "vitest";
import { controlOf, usual } from "../../src/check/sweep/cases/adamw.ts";
import { adamw8bitCases, adamw8bitReference, packMeans, someState, unpackMeans } from "../../src/check/sweep/cases/adamw_8bit.ts";
import { drawn } from "../../src/check/sweep/draw.ts";
import { Graph } from "../../src/graph/graph.ts";
import { adamw8bit, adamw8bitState, dynamicMap } from "../../src/ops/adamw_8bit.ts";
import { UPDATE_VALUES } from "../../src/ops/gradient_norm.ts";
import { compile } from "../../src/plan/compile.ts";
import { Program } from "../../src/run/program.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { memoryWeights, testGpu } from "../support/gpu.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(adamw8bitCases);

test("the maps are bitsandbytes' own", () => {
  const [signed, unsigned] = [dynamicMap(true), dynamicMap(false)];
  expect([signed.length, new Set(signed).size, unsigned.length, new Set(unsigned).size]).toEqual([256, 256, 256, 256]);
  // create_dynamic_map(signed=True) and (signed=False): their ends, their smallest steps, and some in between.
  expect(signed[0]).toBeCloseTo(-0.99296875, 7);
  expect([signed[127], signed[255], unsigned[0], unsigned[255]]).toEqual([0, 1, 0, 1]);
  expect([signed[128]! / 5.5e-7, unsigned[1]! / 3.25e-7, unsigned[2]! / 7.75e-7].every((r) => Math.abs(r - 1) < 1e-6)).toBe(true);
  expect(unsigned[254]).toBeCloseTo(0.99648, 4);
});

describe("as states, where they lie", () => {
  const [count, h] = [700, { ...usual, step: 7 }];
  const [p, g, state] = [drawn(count, 1), drawn(count, 2), someState(count)];

  async function run(taken: boolean): Promise<{ p: Float32Array; state: Uint32Array<ArrayBuffer>; copies: number }> {
    const gpu = await testGpu();
    const graph = new Graph("in place");
    const [held, means] = [graph.state("p", [count], "f32", p), graph.state("means", adamw8bitState(count), "u32", state)];
    const next = adamw8bit({ p: held, state: means, g: graph.input("g", [count]), control: graph.input("control", [UPDATE_VALUES]) });
    graph.update(held, next.p);
    graph.update(means, next.state);
    const plan = compile(graph, gpu.caps);
    using store = new WeightStore(gpu, memoryWeights({}));
    using program = await Program.create(gpu, plan, store);
    await program.run({ inputs: { g, control: controlOf(h, 0.5, taken) } });
    return {
      p: await program.read("p"),
      state: new Uint32Array(await gpu.read(program.buffer("means"))).slice(0, state.length),
      copies: plan.copies.length,
    };
  }

  test("a step writes the nearest numbers, index by index", async () => {
    const got = await run(true);
    const want = adamw8bitReference(h, 0.5, { p, g }, state);
    expect(got.copies).toBe(0);
    got.p.forEach((v, i) => void expect(v).toBeCloseTo(want.p[i]!, 5));
    const bytes = (words: Uint32Array, block: number) => new Uint8Array(words.buffer, block * 520, 512);
    for (let block = 0; block < 3; block++) expect(bytes(got.state, block)).toEqual(bytes(want.state as Uint32Array<ArrayBuffer>, block));
  });
  test("a step that is not taken changes nothing", async () => {
    const got = await run(false);
    expect(got.p).toEqual(p);
    expect(got.state).toEqual(state);
  });
});

test("what is stored is near to what was meant: each mean within its map's step", () => {
  const means = { m: Float64Array.from(drawn(512, 3)), v: Float64Array.from(drawn(512, 4), (x) => x * x) };
  const { m, v } = unpackMeans(packMeans(means), 512);
  m.forEach((x, i) => void expect(Math.abs(x - means.m[i]!)).toBeLessThan(0.008));
  v.forEach((x, i) => void expect(Math.abs(x - means.v[i]!)).toBeLessThan(0.004));
});

test("a state of another shape is refused", () => {
  const graph = new Graph("refused");
  const [p, g, control] = [graph.input("p", [512]), graph.input("g", [512]), graph.input("control", [16])];
  expect(() => adamw8bit({ p, g, control, state: graph.input("state", [1, 130], "u32") })).toThrow(
    /\[adamw_8bit\] the state of p f32 \[512\]/,
  );
});
