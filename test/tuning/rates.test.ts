/** Rates are measured once, kept, and turned into the times of a generation's stages. */
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import type { MeasuredRates, StageTime } from "../../src/pipelines/cogvideox/seconds.ts";
import { findRates, storeRates } from "../../src/gpu/rates.ts";
import { measureRates, ratesUnlessOff } from "../../src/tuning/rates.ts";
import { limitedGpu, testGpu } from "../support/gpu.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";

const { XDG_CACHE_HOME } = process.env;
let gpu: Gpu;
let model: CogVideoX;
let kept: string;
let rates: MeasuredRates;
beforeAll(async () => {
  kept = await mkdtemp(join(tmpdir(), "cogwheel-rates-"));
  process.env["XDG_CACHE_HOME"] = kept;
  gpu = await testGpu();
  model = await CogVideoX.open(await tinyCheckpoint(), { gpu, dtype: "f32" });
  rates = await measureRates(model, { enoughSeconds: 0 });
});
afterAll(async () => {
  if (XDG_CACHE_HOME === undefined) delete process.env["XDG_CACHE_HOME"];
  else process.env["XDG_CACHE_HOME"] = XDG_CACHE_HOME;
  await model[Symbol.asyncDispose]();
  await removeTinyCheckpoints();
  await rm(kept, { recursive: true, force: true });
});

const work = (times: readonly StageTime[], stage: StageTime["stage"]) => times.find((one) => one.stage === stage)!.workSeconds;

describe("a probe", () => {
  it("times every kind of kernel that a generation runs, and how fast weights come", () => {
    const measured = new Set(Object.keys(rates.kernels).map((label) => label.split(/[ _]/, 1)[0]));
    const plans = model.plans({ frames: 9, height: 16, width: 32 }).flatMap((stage) => stage.plans);
    const ops = new Set(plans.flatMap(({ steps }) => steps.map(({ label }) => label.split(/[ _]/, 1)[0]!)));
    expect([...ops].filter((op) => !measured.has(op))).toEqual([]);
    for (const [label, { flops, bytes, seconds }] of Object.entries(rates.kernels)) {
      expect(seconds, label).toBeGreaterThan(0);
      expect(flops + bytes, label).toBeGreaterThan(0);
    }
    for (const value of [rates.loadBytesPerSecond!, rates.pipelineSeconds]) expect(value).toBeGreaterThan(0);
  });

  it("is made once for a model: what is kept is told at once", async () => {
    const before = gpu.pipelines.stats.compiled;
    const asked: string[] = [];
    expect(await measureRates(model, { onProgress: (_, what) => void asked.push(what) })).toEqual(rates);
    expect([gpu.pipelines.stats.compiled - before, asked]).toEqual([0, []]);
    const other = await CogVideoX.open(model.checkpoint.source.label, { gpu, dtype: gpu.caps.f16 ? "f16" : "f32", tuning: false });
    expect(other.probeKey === model.probeKey, "rates are of a type too").toBe(!gpu.caps.f16);
    await other[Symbol.asyncDispose]();
  });

  it("is made again where what is kept is broken, old, or another adapter's", async () => {
    const { tuningHeader: header } = gpu;
    expect(Object.keys((await findRates(header)).models)).toEqual([model.probeKey]);
    const folder = join(kept, "cogwheel", "tuning");
    const [file] = await readdir(folder);
    const text = await readFile(join(folder, file!), "utf8");
    const table = JSON.parse(text) as { models: Record<string, object> };
    const none = { models: {}, loading: {} };
    for (const broken of ["{", "[]", "{}", JSON.stringify({ ...table, kernels: "others" }), JSON.stringify({ ...table, models: [] })]) {
      await writeFile(join(folder, file!), broken);
      expect(await findRates(header), broken.slice(0, 40)).toEqual(none);
    }
    const halves = { ...table, models: { ...table.models, broken: { kernels: { silu: { flops: 1, bytes: 1, seconds: "no" } } } } };
    await writeFile(join(folder, file!), JSON.stringify(halves));
    expect(Object.keys((await findRates(header)).models), "what is whole is taken").toEqual([model.probeKey]);
    await storeRates(header, { models: { more: rates }, loading: {} });
    expect(Object.keys((await findRates(header)).models)).toEqual([model.probeKey, "more"]);
  });

  it("is not made where the user wants no measurements", async () => {
    expect(process.env["COGWHEEL_TUNING"], "in these tests").toBe("off");
    expect(await ratesUnlessOff(model, {})).toBeUndefined();
  });

  it("takes the host's clock where the adapter has none", async () => {
    await using blind = await limitedGpu({ timestamps: false });
    await using other = await CogVideoX.open(model.checkpoint.source.label, { gpu: blind, dtype: "f32" });
    const { kernels } = await measureRates(other, { enoughSeconds: 0, loading: false, again: true });
    expect(Object.keys(kernels).some((label) => label.startsWith("matmul"))).toBe(true);
  });
});

describe("times", () => {
  const size = { frames: 9, height: 16, width: 32 };
  /** A machine that does a TFLOP or moves a GB in a second, whatever the kernel. */
  const even: MeasuredRates = {
    kernels: { multiplies: { flops: 1e12, bytes: 1, seconds: 1 }, moves: { flops: 0, bytes: 1e9, seconds: 1 } },
    dispatchSeconds: 0,
    pipelineSeconds: 0.01,
    loadBytesPerSecond: 1e9,
  };

  it("are told of every stage, and grow with its work", () => {
    const few = model.times(even, { ...size, steps: 2 });
    expect(few.map(({ stage }) => stage)).toEqual(["text encoder", "transformer", "decoder"]);
    for (const { loadSeconds, workSeconds } of few) expect([loadSeconds! > 0, workSeconds > 0]).toEqual([true, true]);
    const steps = [2, 4, 6].map((n) => work(model.times(even, { ...size, steps: n }), "transformer"));
    expect(steps[2]! - steps[1]!, "each step as much").toBeCloseTo(steps[1]! - steps[0]!, 9);
    expect(work(model.times(even, { ...size, guidance: 1 }), "transformer")).toBeLessThan(work(model.times(even, size), "transformer"));
    const decoded = [25, 33, 41].map((frames) => work(model.times(even, { ...size, frames }), "decoder"));
    expect(decoded[2]! - decoded[1]!, "each batch of frames as much").toBeCloseTo(decoded[1]! - decoded[0]!, 9);
    for (const tiling of ["none", "exact"] as const)
      expect(work(model.times(even, { ...size, tiling }), "decoder"), tiling).toBeGreaterThan(0);
  });

  it("of a request are those of the steps that are left", async () => {
    const options = { prompt: "a circle", seed: 1, ...size, steps: 4 };
    const whole = model.times(rates, await model.prepare(options));
    expect(whole).toEqual(model.times(rates, { ...size, steps: 4 }));
    const { state } = await model.generate({ ...options, steps: 4, cache: false });
    const rest = model.times(rates, await model.prepare({ ...options, start: { ...state, step: 3 } }));
    expect(work(rest, "transformer")).toBeLessThan(work(whole, "transformer"));
    expect(model.times(rates, await model.prepare({ ...options, start: state })).map(({ stage }) => stage)).toEqual(["decoder"]);
  });

  it("do not say how long loading takes where nobody knows how fast weights come", () => {
    const { loadBytesPerSecond: _, ...unknown } = rates;
    for (const time of model.times(unknown, size)) expect(time.loadSeconds).toBeUndefined();
  });
});
