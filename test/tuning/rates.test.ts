/** Rates are measured once, kept, and turned into the times of a generation's stages. */
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import type { LoadRate, MeasuredRates } from "../../src/gpu/rates.ts";
import type { StageTime } from "../../src/pipelines/cogvideox/seconds.ts";
import { findRates, isMeasured, storeRates } from "../../src/gpu/rates.ts";
import { weightsOf } from "../../src/graph/weights-of.ts";
import { forecast } from "../../src/cli/generate/forecast.ts";
import { drawn, rateOf } from "../../src/tuning/probe-loading.ts";
import { besides, probeKernels } from "../../src/tuning/probe.ts";
import { measureRates, ratesUnlessOff } from "../../src/tuning/rates.ts";
import { roughRates } from "../../src/tuning/rough.ts";
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
  rates = await measureRates(model, { enoughSeconds: 0, mostSeconds: Infinity });
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
    for (const [label, dispatches] of Object.entries(rates.kernels)) {
      expect(dispatches.length, label).toBeGreaterThan(0);
      for (const { flops, bytes, seconds } of dispatches) {
        expect(seconds, label).toBeGreaterThan(0);
        expect(flops + bytes, label).toBeGreaterThan(0);
      }
    }
    expect(Object.keys(rates.loading).sort()).toEqual(["text_encoder", "transformer", "vae"]);
    for (const { bytesPerSecond, fixedSeconds, weightSeconds } of Object.values(rates.loading)) {
      expect(bytesPerSecond).toBeGreaterThan(0);
      expect(fixedSeconds).toBeGreaterThanOrEqual(0);
      expect(weightSeconds).toBeGreaterThanOrEqual(0);
    }
    const matrices = Object.keys(rates.first).filter((label) => label.startsWith("matmul"));
    expect(matrices.length, "what a pipeline takes once is known of each kernel").toBeGreaterThan(0);
    for (const value of [rates.runSeconds, rates.bindSeconds, rates.pipelineSeconds]) expect(value).toBeGreaterThan(0);
    expect(rates.firstRunSeconds, "nothing on drivers that compile with the pipeline").toBeGreaterThanOrEqual(0);
  });

  it("lets `requirements` tell seconds, of this model and of those that are opened later", async () => {
    const secondsOfStages = (of: CogVideoX) => of.requirements({ steps: 8 }).map(({ seconds }) => seconds);
    const told = secondsOfStages(model);
    expect(told).toEqual(
      model
        .times(rates, { steps: 8 })
        .map(
          ({ loadSeconds, pipelineSeconds, workSeconds, firstRunSeconds }) =>
            loadSeconds! + pipelineSeconds + (workSeconds + firstRunSeconds),
        ),
    );
    const request = await model.prepare({ prompt: "a cat", steps: 8 });
    expect(request.requirements.map(({ seconds }) => seconds)).toEqual(told);
    await using never = await CogVideoX.open(model.checkpoint.source.label, { gpu, dtype: "f32" });
    const { COGWHEEL_TUNING } = process.env;
    delete process.env["COGWHEEL_TUNING"];
    await using later = await CogVideoX.open(model.checkpoint.source.label, { gpu, dtype: "f32" });
    process.env["COGWHEEL_TUNING"] = COGWHEEL_TUNING;
    expect(secondsOfStages(later)).toEqual(told);
    expect(secondsOfStages(never), "with COGWHEEL_TUNING=off").toEqual([undefined, undefined, undefined]);
    let left: number | undefined;
    await model.generate({ prompt: "a cat", frames: 1, onProgress: (_stage, _done, _detail, all) => void (left ??= all?.secondsLeft) });
    expect(left, "known before anything is loaded").toBeGreaterThan(0);
  });

  it("runs layers of the model's own widths", async () => {
    const { text, transformer } = model.configs;
    const shapes = new Map([...(await model.probed()).graphs(0)].flatMap((graph) => [...weightsOf(graph)]));
    expect(shapes.get("encoder.block.0.layer.1.DenseReluDense.wo.weight")).toEqual([text.d_model, text.d_ff]);
    const width = transformer.num_attention_heads * transformer.attention_head_dim;
    expect(shapes.get("transformer_blocks.0.ff.net.2.weight")).toEqual([width, 4 * width]);
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
    const [whole] = Object.values(table.models);
    const halves = {
      ...table,
      models: {
        ...table.models,
        broken: { ...whole, kernels: { silu: [{ flops: 1, bytes: 1, seconds: "no" }] } },
        none: { ...whole, kernels: { silu: [] } },
        old: { ...whole, runSeconds: undefined },
        older: { ...whole, firstRunSeconds: undefined },
        oldest: { ...whole, first: undefined },
        odd: { ...whole, first: { silu: { pipelineSeconds: 1 } } },
      },
      loading: {
        folder: { transformer: { fixedSeconds: 0, weightSeconds: 0, bytesPerSecond: 0 } },
        old: { transformer: { weightSeconds: 0, bytesPerSecond: 1e9 } },
      },
    };
    await writeFile(join(folder, file!), JSON.stringify(halves));
    const taken = await findRates(header);
    expect([Object.keys(taken.models), taken.loading], "what is whole is taken").toEqual([[model.probeKey], {}]);
    expect([rates, { ...rates, loading: halves.loading.old }, undefined].map(isMeasured), "a page's too").toEqual([true, false, false]);
    await storeRates(header, { models: { more: rates }, loading: {} });
    expect(Object.keys((await findRates(header)).models)).toEqual([model.probeKey, "more"]);
  });

  it("is not made where the user wants no measurements", async () => {
    expect(process.env["COGWHEEL_TUNING"], "in these tests").toBe("off");
    expect(await ratesUnlessOff(model, {})).toBeUndefined();
  });

  it("ends by its time, says that it is rough, and tells what it did not measure from what is most like it", async () => {
    expect(rates.rough).toBeUndefined();
    const asked: string[] = [];
    const short = await probeKernels(model, { mostSeconds: 0, onProgress: (_, what) => void asked.push(what) });
    expect([short.rough, asked.length], "one graph is measured, however long it takes").toEqual([true, 1]);
    for (const { stage, workSeconds } of model.times({ ...short, loading: {} })) expect(workSeconds, stage).toBeGreaterThan(0);
  });

  it("takes the host's clock where the adapter has none", async () => {
    await using blind = await limitedGpu({ timestamps: false });
    await using other = await CogVideoX.open(model.checkpoint.source.label, { gpu: blind, dtype: "f32" });
    const { kernels } = await measureRates(other, { enoughSeconds: 0, mostSeconds: Infinity, loading: false, again: true });
    expect(Object.keys(kernels).some((label) => label.startsWith("matmul"))).toBe(true);
  });
});

describe("what a run takes beside its dispatches", () => {
  const run = (steps: number, restSeconds = 0.003 + steps * 1e-5) => ({ steps, restSeconds });

  it("is a share of the run and one of each dispatch, told from runs of few and of many", () => {
    for (const held of [[], [run(32, 0.1)], [run(16, 0.08), run(134, 0)]]) {
      const found = besides([run(16), run(32), run(134), run(134), run(16), run(32), run(134), ...held]);
      expect(found.runSeconds, "whichever run the machine was held up in").toBeCloseTo(0.003, 3);
      expect(found.dispatchSeconds).toBeCloseTo(1e-5, 5);
    }
  });

  it("is the run's where all have as many dispatches, and never less than nothing", () => {
    expect(besides([run(1, 0.002), run(1, 0.004), run(1, 0.003)])).toEqual({ runSeconds: 0.003, dispatchSeconds: 0 });
    expect(besides([run(1, 0.002), run(10, 0)])).toEqual({ runSeconds: expect.closeTo(0.001) as number, dispatchSeconds: 0 });
    expect(besides([])).toEqual({ runSeconds: 0, dispatchSeconds: 0 });
  });
});

describe("how fast weights come", () => {
  const of = (rate: LoadRate) => (weights: number, bytes: number) => ({
    weights,
    bytes,
    seconds: rate.fixedSeconds + weights * rate.weightSeconds + bytes / rate.bytesPerSecond,
  });
  const rate = { fixedSeconds: 0.004, weightSeconds: 0.0005, bytesPerSecond: 2e9 };

  it("follows from loads of one, of few and of many", () => {
    for (const [weights, bytes] of [
      [200, 1e8],
      [2, 1e8],
      [400, 1e8],
    ] as const) {
      const found = rateOf({ one: of(rate)(1, 512), few: of(rate)(32, 3e4), many: of(rate)(weights, bytes) })!;
      for (const [key, value] of Object.entries(rate)) expect(found[key as keyof LoadRate] / value, `${weights}: ${key}`).toBeCloseTo(1, 6);
    }
  });

  it("tells what was measured of as many as were loaded, whichever load the machine was held up in", () => {
    const loads = { one: of(rate)(1, 512), few: of(rate)(32, 3e4), many: of(rate)(200, 1e8) };
    for (const held of ["one", "few", "many"] as const) {
      const measured = { ...loads, [held]: { ...loads[held], seconds: 0.5 } };
      const found = rateOf(measured)!;
      for (const value of Object.values(found)) expect(Number.isFinite(value) && value >= 0, held).toBe(true);
      expect(of(found)(200, 1e8).seconds, held).toBeCloseTo(measured.many.seconds, 9);
    }
  });

  it("is a matter of bytes alone where there is one weight", () => {
    const one = of(rate)(1, 1e6);
    expect(rateOf({ one, few: one, many: one })).toEqual({ fixedSeconds: 0, weightSeconds: 0, bytesPerSecond: 1e6 / one.seconds });
    expect(rateOf({ one, few: one, many: { ...one, seconds: 0 } })).toBeUndefined();
  });

  it("is measured of weights of all sizes", () => {
    const weights = Array.from({ length: 100 }, (_, i) => ({ bytes: (i + 1) * 10 }));
    const [some, others] = drawn(weights, 5050);
    expect([some.length, others.length, some[0]!.bytes, some.at(-1)!.bytes]).toEqual([10, 90, 100, 1000]);
    expect(drawn(weights, 1e9), "all where there is room").toEqual([weights, []]);
    expect(drawn(weights, 1)[0], "one at least").toEqual([{ bytes: 1000 }]);
  });
});

describe("times", () => {
  const size = { frames: 9, height: 16, width: 32 };
  /** A machine that does a TFLOP or moves a GB in a second, whatever the kernel. */
  const even: MeasuredRates = {
    kernels: { multiplies: [{ flops: 1e12, bytes: 1, seconds: 1 }], moves: [{ flops: 0, bytes: 1e9, seconds: 1 }] },
    dispatchSeconds: 0,
    runSeconds: 0,
    bindSeconds: 0.001,
    pipelineSeconds: 0.01,
    firstRunSeconds: 0.02,
    first: {},
    loading: Object.fromEntries(
      ["text_encoder", "transformer", "vae"].map((part) => [part, { fixedSeconds: 0.005, bytesPerSecond: 1e9, weightSeconds: 0.001 }]),
    ),
  };

  it("are told of every stage, and grow with its work", () => {
    const few = model.times(even, { ...size, steps: 2 });
    expect(few.map(({ stage }) => stage)).toEqual(["text encoder", "transformer", "decoder"]);
    for (const { loadSeconds, pipelineSeconds, workSeconds } of few)
      expect([loadSeconds! > 0, pipelineSeconds > 0, workSeconds > 0]).toEqual([true, true, true]);
    const steps = [2, 4, 6].map((n) => work(model.times(even, { ...size, steps: n }), "transformer"));
    expect(steps[2]! - steps[1]!, "each step as much").toBeCloseTo(steps[1]! - steps[0]!, 9);
    const first = model.times(even, size).map(({ firstRunSeconds, pipelineSeconds }) => firstRunSeconds / pipelineSeconds);
    expect(first[1], "a pipeline's first dispatch takes twice what making it does").toBeCloseTo(2, 9);
    expect(first[0], "but those that unpack weights run while these come").toBeLessThan(2);
    const label = model.plans(size)[1]!.plans[0]!.steps[0]!.label;
    const slow = model.times({ ...even, first: { [label]: { pipelineSeconds: 1.01, firstRunSeconds: 2.02 } } }, size);
    expect(slow[1]!.pipelineSeconds - few[1]!.pipelineSeconds, "a kernel that was measured takes what it took").toBeCloseTo(1, 9);
    expect(slow[1]!.firstRunSeconds - few[1]!.firstRunSeconds).toBeCloseTo(2, 9);
    const again = model.times(
      { ...even, loading: { ...even.loading, text_encoder: { ...even.loading["text_encoder"]!, fixedSeconds: 1 } } },
      size,
    );
    const [before, after] = [model.times(even, size)[0]!, again[0]!];
    expect(after.loadSeconds! - before.loadSeconds!, "a load has a share of its own").toBeCloseTo(0.995, 9);
    expect(after.workSeconds - before.workSeconds, "and so have the rows of a prompt's words").toBeCloseTo(0.995, 9);
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
    for (const time of model.times({ ...rates, loading: {} }, size)) expect(time.loadSeconds).toBeUndefined();
  });

  it("of weights that come and go say how fast they must come, and do", () => {
    const memoryBytes = 1e5; // too little, so that each stage is told with the least that it could take
    const streamed = model.requirements({ ...size, memoryBytes }).find(({ stage }) => stage === "transformer")!.streamed;
    expect(streamed).toBeGreaterThan(0);
    const steps = 2;
    const [whole, within] = [{}, { memoryBytes }].map(
      (more) => model.times(even, { ...size, ...more, steps }).find(({ stage }) => stage === "transformer")!,
    );
    expect(whole!.neededBytesPerSecond).toBeUndefined();
    expect(within!.neededBytesPerSecond).toBeGreaterThan(0);
    expect(within!.suppliedBytesPerSecond!, "each weight takes a millisecond besides").toBeLessThan(1e9);
    // On a CPU adapter reading takes the cores that compute.
    if (gpu.caps.kind === "software")
      expect(within!.workSeconds - whole!.workSeconds).toBeGreaterThan((0.5 * steps * streamed) / within!.suppliedBytesPerSecond!);
  });
});

describe("a first look", () => {
  const asked = { prompt: "a red circle", seed: 1, frames: 9, width: 64, height: 32, steps: 4 };
  const where = { keep: "", look: "" };
  const { COGWHEEL_TUNING } = process.env;
  beforeAll(async () => {
    delete process.env["COGWHEEL_TUNING"];
    where.keep = process.env["XDG_CACHE_HOME"]!;
    process.env["XDG_CACHE_HOME"] = where.look = await mkdtemp(join(tmpdir(), "cogwheel-look-"));
  });
  afterAll(async () => {
    process.env["COGWHEEL_TUNING"] = COGWHEEL_TUNING;
    process.env["XDG_CACHE_HOME"] = where.keep;
    await rm(where.look, { recursive: true, force: true });
  });

  it("is not taken of what takes longer than a look, and not where the user wants no measurements", async () => {
    const request = await model.prepare(asked);
    expect(await roughRates(model, { ...request, plan: { ...request.plan, stages: [] } })).toBeUndefined();
    process.env["COGWHEEL_TUNING"] = "off";
    expect(await roughRates(model, request)).toBeUndefined();
    delete process.env["COGWHEEL_TUNING"];
  });

  it("knows of every stage how long it takes, is kept, and gives way to a probe", async () => {
    const request = await model.prepare(asked);
    const look = (await roughRates(model, request))!;
    expect(look.rough).toBe(true);
    for (const { loadSeconds, pipelineSeconds, workSeconds } of model.times(look.rates, request))
      expect([loadSeconds! > 0, pipelineSeconds >= 0, workSeconds > 0]).toEqual([true, true, true]);
    const compiled = gpu.pipelines.stats.compiled;
    const again = (await roughRates(model, request))!;
    expect([again.rates.kernels, gpu.pipelines.stats.compiled]).toEqual([look.rates.kernels, compiled]);
    await storeRates(gpu.tuningHeader, { models: { [model.probeKey]: rates }, loading: {} });
    expect(await roughRates(model, request)).toEqual({ rates: { ...rates, loading: {} }, rough: false });
  });
});

describe("what generate says before it loads anything", () => {
  const request = () => model.prepare({ prompt: "a red circle", seed: 1, frames: 33, width: 64, height: 32 });
  it("is how long it takes and how much memory", async () => {
    // What takes less than a twentieth of a second is not told, and a quick machine loads this model in less.
    const loading = Object.fromEntries(
      Object.entries(rates.loading).map(([part, rate]) => [part, { ...rate, fixedSeconds: rate.fixedSeconds + 0.1 }]),
    );
    const { line, advice } = forecast(model, await request(), { ...rates, loading, dispatchSeconds: rates.dispatchSeconds + 1e-3 });
    expect(line).toMatch(
      /^About [\d.]+ s on this adapter \(load [\d.]+ s, (compile [\d.]+ s, )?.*decode [\d.]+ s\), [\d.]+ MB of its memory\.$/,
    );
    expect(advice).toBeUndefined();
  });

  it("names what takes less where a CPU adapter takes long", async ({ skip }) => {
    if (gpu.caps.kind !== "software") skip("needs an adapter on the CPU");
    const slow = { ...rates, dispatchSeconds: 60 };
    const { line, advice } = forecast(model, await request(), slow);
    expect(line).toMatch(/^About \d+ h \d\d min on this adapter/);
    expect(advice).toMatch(
      /is long: this adapter computes on the CPU.*Here --frames 17 about .*, --size 32x16 --frames 17 about .* would take less/,
    );
  });
});
