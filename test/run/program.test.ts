import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { CapabilityOverrides } from "../../src/gpu/capabilities.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { Profile } from "../../src/gpu/profile.ts";
import { compile, type Plan } from "../../src/plan/compile.ts";
import { Graph } from "../../src/graph/graph.ts";
import type { Tensor } from "../../src/graph/tensor.ts";
import { silu as activated } from "../../src/check/sweep/activations.ts";
import { Program } from "../../src/run/program.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { layerNorm } from "../../src/ops/layer_norm.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { rmsNorm } from "../../src/ops/rms_norm.ts";
import { silu } from "../../src/ops/silu.ts";
import { expectClose, values } from "../support/compare.ts";
import { limitedGpu, memoryWeights, runGraph, testGpu } from "../support/gpu.ts";

let gpu: Gpu;
beforeAll(async () => void (gpu = await testGpu()));

const silent = (data: Float32Array) => data.map(activated);

/** 8 … 14: values that silu, applied 200 times, changes a little each time. */
const slow = (seed: number) => values(4096, seed, 3).map((v) => v + 11);

/** A program without weights. */
async function program(build: (graph: Graph) => void, on = gpu): Promise<Program> {
  const graph = new Graph("test");
  build(graph);
  return Program.create(on, compile(graph, on.caps), new WeightStore(on, memoryWeights({})));
}

/** y = silu applied `times` times: as many dispatches, each depending on the one before. */
function chain(graph: Graph, times: number, size = 64): void {
  let x: Tensor = graph.input("x", [size]);
  for (let i = 0; i < times; i++) x = silu(x);
  graph.output("y", x);
}

describe("views and shared buffers", () => {
  it("reshapes without moving anything", async () => {
    const x = values(24, 2);
    using reshaped = await program((graph) => {
      const y = silu(graph.input("x", [2, 12]));
      graph.output("flat", graph.reshape(y, [24]));
      graph.output("y", graph.reshape(graph.reshape(y, [3, 8]), [4, 6]));
    });
    expect(reshaped.plan.steps.length).toBe(1);
    expect(reshaped.buffer("flat")).toBe(reshaped.buffer("y"));
    await reshaped.run({ inputs: { x } });
    expect([...(await reshaped.read("flat"))]).toEqual([...(await reshaped.read("y"))]);
    expectClose(await reshaped.read("y"), silent(x), 1e-6);
  });

  it("binds tensors that are smaller than the vectors that kernels read", async () => {
    const x = values(4, 6);
    const out = await runGraph(
      (graph) => ({ y: layerNorm(graph.input("x", [1, 4]), { eps: 1e-5, source: graph.constant("rows", Uint32Array.of(0)) }) }),
      { inputs: { x } },
    );
    const mean = x.reduce((a, b) => a + b) / 4;
    const rstd = 1 / Math.sqrt(x.reduce((a, b) => a + (b - mean) ** 2, 0) / 4 + 1e-5);
    expectClose(
      out["y"]!,
      x.map((v) => (v - mean) * rstd),
      1e-6,
    );
  });

  it("reads another program's output where it lies", async () => {
    using first = await program((graph) => chain(graph, 1));
    const graph = new Graph("second");
    chain(graph, 1);
    const before = gpu.memory.allocated;
    using second = await Program.create(gpu, compile(graph, gpu.caps), new WeightStore(gpu, memoryWeights({})), {
      bind: { x: first.buffer("y") },
    });
    expect(gpu.memory.allocated - before, "only y is new").toBe(256);
    const x = values(64, 3, 2);
    await first.run({ inputs: { x } });
    await second.run();
    expectClose(await second.read("y"), silent(silent(x)), 1e-6);
  });

  it("tells two shapes of one packed weight apart", async () => {
    const w = { data: values(256, 4), shape: [16, 16] };
    const x = values(16, 5);
    const out = await runGraph(
      (graph) => ({
        tall: matmul(graph.input("x", [4, 4]), graph.weight("w", [64, 4])),
        square: matmul(graph.reshape(graph.inputs.get("x")!, [1, 16]), graph.weight("w", [16, 16])),
      }),
      { inputs: { x }, weights: { w } },
    );
    const product = (rows: number, inner: number, n: number) =>
      Float32Array.from({ length: rows * n }, (_, i) => {
        const [m, o] = [Math.floor(i / n), i % n];
        let sum = 0;
        for (let k = 0; k < inner; k++) sum += x[m * inner + k]! * w.data[o * inner + k]!;
        return sum;
      });
    expectClose(out["tall"]!, product(4, 4, 64), 1e-6);
    expectClose(out["square"]!, product(1, 16, 16), 1e-6);
  });
});

describe("paths that must not change a bit", () => {
  const weights = {
    w: { data: values(96 * 64, 11, 0.2), shape: [96, 64] },
    v: { data: values(64 * 96, 12, 0.2), shape: [64, 96] },
    norm: { data: values(64, 13), shape: [64] },
  };
  const inputs = { x: values(131 * 64, 14) };
  const network = (graph: Graph) => {
    const x = graph.input("x", [131, 64]);
    const hidden = matmul(rmsNorm(x, graph.weight("norm", [64])), graph.weight("w", [96, 64]), { activation: "gelu" });
    const y = matmul(hidden, graph.weight("v", [64, 96]), { residual: x });
    return { y, z: layerNorm(y, { eps: 1e-5 }) };
  };
  let want: Record<string, Float32Array>;
  let steps: Plan["steps"];
  beforeAll(async () => {
    want = await runGraph(network, { inputs, weights });
    steps = compileNetwork(gpu).steps;
  });
  function compileNetwork(on: Gpu): Plan {
    const graph = new Graph("network");
    for (const [name, tensor] of Object.entries(network(graph))) graph.output(name, tensor);
    return compile(graph, on.caps);
  }

  it.for<[string, CapabilityOverrides, (limited: Plan, full: number) => void]>([
    ["parameters in a uniform", { immediates: false }, () => undefined],
    ["row windows for bindings of 8 KiB", { maxBindingBytes: 8192 }, (plan, full) => expect(plan.steps.length).toBeGreaterThan(2 * full)],
    [
      "grids of at most 12 workgroups a side",
      { maxGrid: 12 },
      (plan) => {
        expect(Math.max(...plan.steps.flatMap((s) => s.dispatch.grid))).toBeLessThanOrEqual(12);
        expect(
          plan.steps.some((s) => s.dispatch.grid[1] > 1),
          "something was folded",
        ).toBe(true);
      },
    ],
  ])("%s", async ([, capabilities, check], { skip }) => {
    skip("immediates" in capabilities && !gpu.caps.immediates, "needs an adapter with immediates, to compare with");
    await using limited = await limitedGpu(capabilities);
    check(compileNetwork(limited), steps.length);
    const got = await runGraph(network, { gpu: limited, inputs, weights });
    for (const name of ["y", "z"]) expect([...got[name]!]).toEqual([...want[name]!]);
  });

  it("many submits and one", async () => {
    using long = await program((graph) => chain(graph, 200, 4096));
    const x = slow(15);
    const progress: number[] = [];
    await long.run({ inputs: { x }, onProgress: (done) => progress.push(done) });
    const chunked = await long.read("y");
    expect(progress.length, "submits").toBeGreaterThan(2);
    expect(progress).toEqual([...progress].sort((a, b) => a - b));
    expect(progress.at(-1)).toBe(1);

    long.write("x", x);
    const encoder = gpu.device.createCommandEncoder();
    encoder.clearBuffer(long.buffer("y"));
    const pass = encoder.beginComputePass();
    long.encode(pass);
    pass.end();
    gpu.device.queue.submit([encoder.finish()]);
    expect([...(await long.read("y"))]).toEqual([...chunked]);
    expect(new Set(chunked).size).toBeGreaterThan(1000);
    expect(chunked.every((v, i) => v < x[i]!)).toBe(true);
  });
});

describe("stopping", () => {
  it("stops in the middle, gives the reason, and computes the right thing when run again", async () => {
    using long = await program((graph) => chain(graph, 200, 4096));
    const x = slow(16);
    await long.run({ inputs: { x } });
    const want = await long.read("y");
    const { allocated } = gpu.memory;
    const controller = new AbortController();
    const seen: number[] = [];
    const reason = new Error("enough");
    await expect(
      long.run({
        inputs: { x: values(4096, 17) },
        signal: controller.signal,
        onProgress: (done) => {
          seen.push(done);
          controller.abort(reason);
        },
      }),
    ).rejects.toBe(reason);
    expect(seen.length).toBe(1);
    await expect(long.run({ signal: controller.signal })).rejects.toBe(reason);
    await expect(long.read("y", controller.signal)).rejects.toBe(reason);
    await long.run({ inputs: { x } });
    expect([...(await long.read("y"))]).toEqual([...want]);
    expect(gpu.memory.allocated).toBe(allocated);
  });

  it("stops loading weights and gives their memory back", async () => {
    const { allocated } = gpu.memory;
    const controller = new AbortController();
    const graph = new Graph("loading");
    let x: Tensor = graph.input("x", [4, 64]);
    for (let i = 0; i < 6; i++) x = matmul(x, graph.weight(`w${i}`, [64, 64]));
    graph.output("y", x);
    let read = 0;
    const store = new WeightStore(gpu, {
      type: () => "f32",
      stored: (label) => ({
        label,
        shape: [64, 64],
        format: "f32",
        read: async () => {
          if (++read === 3) controller.abort(new Error("enough"));
        },
      }),
    });
    await expect(Program.create(gpu, compile(graph, gpu.caps), store, { signal: controller.signal })).rejects.toThrow("enough");
    expect(read).toBe(3);
    store[Symbol.dispose]();
    expect(gpu.memory.allocated).toBe(allocated);
  });
});

describe("profile", () => {
  it("has a row for every kernel and a trace that Chrome reads", async () => {
    using profile = new Profile(gpu);
    const weights = { w: { data: values(64 * 64, 21), shape: [64, 64] }, norm: { data: values(64, 22), shape: [64] } };
    await runGraph(
      (graph) => {
        let x: Tensor = graph.input("x", [33, 64]);
        for (let i = 0; i < 70; i++) x = silu(x);
        return { y: rmsNorm(matmul(x, graph.weight("w", [64, 64])), graph.weight("norm", [64])) };
      },
      { inputs: { x: values(33 * 64, 23) }, weights, profile },
    );
    expect(profile.dispatches.length).toBe(72);
    const rows = profile.rows();
    expect(rows.map((row) => row.label.split(" ")[0]).sort()).toEqual([
      expect.stringMatching(/^matmul_/),
      expect.stringMatching(/^rms_norm/),
      "silu",
    ]);
    expect(rows.find((row) => row.label.startsWith("silu"))!.count).toBe(70);
    if (gpu.caps.timestamps) {
      for (const row of rows) expect(row.ms, row.label).toBeGreaterThan(0);
      expect(rows.reduce((sum, row) => sum + row.share, 0)).toBeCloseTo(1, 6);
      for (const d of profile.dispatches) expect(d.end).toBeGreaterThanOrEqual(d.begin);
    }
    const trace = JSON.parse(profile.chromeTrace()) as {
      traceEvents: { name: string; ph: string; ts: number; dur: number; pid: number; tid: number; args: { node: string } }[];
    };
    expect(trace.traceEvents.length).toBe(72);
    for (const event of trace.traceEvents) {
      expect(event).toMatchObject({ ph: "X", pid: 1, tid: 1, name: expect.any(String), ts: expect.any(Number), dur: expect.any(Number) });
      expect(event.ts).toBeGreaterThanOrEqual(0);
      expect(event.dur).toBeGreaterThanOrEqual(0);
    }
    expect(trace.traceEvents[71]!.args.node).toBe("rms_norm");
  });

  it("does without timestamps, and says so", async () => {
    await using plain = await limitedGpu({ timestamps: false });
    using profile = new Profile(plain);
    using short = await program((graph) => chain(graph, 2), plain);
    await short.run({ inputs: { x: values(64) }, profile });
    expect(profile.timed).toBe(false);
    expect(profile.rows()).toMatchObject([{ count: 2, ms: 0 }]);
    expect(JSON.parse(profile.chromeTrace()).traceEvents.length).toBe(2);
  });
});

describe("check-finite", () => {
  const network = (dtype: "f32" | "f16") => (graph: Graph) => {
    const good = graph.scope("good", () => silu(graph.input("a", [8, 16])));
    const w = graph.weight("w", [16, 16]);
    const fed = graph.scope("fed", () => matmul(graph.input("b", [8, 16]), w, { dtype }));
    graph.output(
      "y",
      graph.scope("after", () => matmul(fed, w, { residual: good })),
    );
  };
  const weights = memoryWeights({ w: { data: values(256, 31), shape: [16, 16] } });
  async function checked(dtype: "f32" | "f16", b: Float32Array, options: { profile?: Profile } = {}): Promise<void> {
    const graph = new Graph("network");
    network(dtype)(graph);
    using store = new WeightStore(gpu, weights);
    using run = await Program.create(gpu, compile(graph, gpu.caps), store);
    await run.run({ inputs: { a: values(128, 32), b }, checkFinite: true, ...options });
    await run.run({ inputs: { a: values(128, 32), b }, checkFinite: true, ...options }); // flags start from zero again
  }
  const poisoned = (value: number) => values(128, 33).map((v, i) => (i === 37 ? value : v));

  it.each([
    ["infinity", Infinity],
    ["NaN", NaN],
  ])("names the first node that makes what an %s becomes", async (_, value) => {
    await checked("f32", values(128, 33));
    await expect(checked("f32", poisoned(value))).rejects.toThrow(
      /^\[check-finite\] every value must be finite, got 16 NaN or infinite values first in node fed\.matmul of network \(fed\.matmul:y f32 \[8, 16\]\); /,
    );
  });

  it("of some nodes takes no memory in each run, whatever function names them", async () => {
    const graph = new Graph("network");
    network("f32")(graph);
    using store = new WeightStore(gpu, weights);
    using run = await Program.create(gpu, compile(graph, gpu.caps), store);
    const some = () => run.run({ inputs: { a: values(128, 32), b: values(128, 33) }, checkFinite: ({ name }) => name.startsWith("after") });
    await some();
    const { allocated } = gpu.memory;
    await some();
    await some();
    expect(gpu.memory.allocated).toBe(allocated);
    await expect(run.run({ inputs: { b: poisoned(NaN) }, checkFinite: ({ name }) => name.startsWith("after") })).rejects.toThrow(
      /got \d+ NaN or infinite values in node after\.matmul of network .*; run it with checkFinite/,
    );
  });

  it("does so beside a profile", async () => {
    using profile = new Profile(gpu);
    await expect(checked("f32", poisoned(Infinity), { profile })).rejects.toThrow(/in node fed\.matmul of/);
    expect(profile.dispatches.length).toBe(3);
  });

  it("finds an overflow of f16", async ({ skip }) => {
    skip(!gpu.caps.f16, "needs an adapter with shader-f16");
    await checked("f16", values(128, 33));
    await expect(checked("f16", values(128, 33, 1e6))).rejects.toThrow(/in node fed\.matmul of network \(fed\.matmul:y f16 \[8, 16\]\)/);
  });
});

describe("errors", () => {
  it("names wrong inputs, outputs and sizes", async () => {
    using short = await program((graph) => chain(graph, 1));
    expect(() => short.write("x", new Float32Array(63))).toThrow(
      '[graph] input "x" takes 256 bytes (x f32 [64]), got 252; check its shape',
    );
    expect(() => short.write("q", new Float32Array(64))).toThrow('[graph] test has no input "q"; its inputs are x');
    expect(() => short.write("y", new Float32Array(64))).toThrow('has no input "y"');
    await expect(short.run({ inputs: { x: new Float32Array(65) } })).rejects.toThrow("takes 256 bytes");
    await expect(short.read("q")).rejects.toThrow('[graph] test has no input or output "q"; it has x, y');
    const { plan } = short;
    await expect(Program.create(gpu, plan, short.weights, { bind: { q: short.buffer("y") } })).rejects.toThrow(
      '[graph] buffers are bound to inputs by name, got "q"; inputs are x',
    );
    using small = await program((graph) => chain(graph, 1, 4));
    await expect(Program.create(gpu, plan, short.weights, { bind: { x: small.buffer("y") } })).rejects.toThrow(
      /must hold the input, got 16 bytes for "x"/,
    );
  });

  it("refuses every use after dispose", async () => {
    const { allocated } = gpu.memory;
    const gone = await program((graph) => chain(graph, 1));
    gone[Symbol.dispose]();
    gone[Symbol.dispose]();
    expect(gpu.memory.allocated).toBe(allocated);
    const rule = "[graph] a program cannot be used after dispose, got test; compile it again";
    await expect(gone.run()).rejects.toThrow(rule);
    await expect(gone.read("y")).rejects.toThrow(rule);
    expect(() => gone.write("x", new Float32Array(64))).toThrow(rule);
    expect(() => gone.buffer("y")).toThrow(rule);
    expect(() => gone.encode({} as GPUComputePassEncoder)).toThrow(rule);
  });

  it("refuses graphs that cannot run", () => {
    const failing = (build: (graph: Graph) => void) => () => {
      const graph = new Graph("bad");
      build(graph);
      compile(graph, gpu.caps);
    };
    expect(
      failing((g) => {
        g.input("x", [4]);
        g.input("x", [4]);
      }),
    ).toThrow('[graph] input names must be unique, got "x" twice');
    expect(failing((g) => g.input("x", [4, 0]))).toThrow("[graph] every axis of a tensor must be a positive integer, got [4, 0] for x");
    expect(failing((g) => g.reshape(g.input("x", [4]), [5]))).toThrow("[reshape] element counts must agree, got [4] and [5]");
    expect(failing((g) => g.output("w", g.weight("w", [4])))).toThrow(
      /an output must be computed by a node or be an input, got the weight w/,
    );
    const other = new Graph("other").input("x", [4, 16]);
    expect(failing((g) => g.output("y", matmul(g.input("x", [4, 16]), g.weight("w", [16, 16]), { residual: other })))).toThrow(
      '[matmul] inputs must belong to the graph being recorded, got "residual" of another',
    );
    expect(failing((g) => g.output("y", other))).toThrow('[graph] an output must belong to the graph, got "y" of another');
  });

  it("says that a device was lost, whatever it was asked", async () => {
    const doomed = await limitedGpu({});
    const short = await program((graph) => chain(graph, 100, 4096), doomed);
    await short.run({ inputs: { x: values(4096) } });
    doomed.device.destroy();
    const lost = /^\[gpu\] the GPU device was lost/;
    await expect(
      (async () => {
        await short.run();
        return short.read("y");
      })(),
    ).rejects.toThrow(lost);
    await expect(short.read("y")).rejects.toThrow(lost);
    await expect(program((graph) => chain(graph, 1), doomed)).rejects.toThrow(lost);
    expect(() => doomed.buffer("b", 16, GPUBufferUsage.STORAGE)).toThrow(lost);
    short[Symbol.dispose]();
    expect(doomed.memory.allocated).toBe(0);
    await doomed[Symbol.asyncDispose]();
    expect(() => doomed.assertAlive()).toThrow("[gpu] a Gpu cannot be used after dispose");
  });

  it("turns a failing pipeline into an error with the kernel's name, once and again", async () => {
    await using poor = await limitedGpu({});
    const kernel = (await import("#kernels")).silu;
    const broken = { ...kernel, source: kernel.source.replace("fn main", "fn mian") } as typeof kernel;
    for (let i = 0; i < 2; i++)
      await expect(poor.scoped("compiling", () => poor.pipelines.get(broken as never, {}))).rejects.toThrow(
        /^\[silu\] pipeline "silu" does not compile: /,
      );
  });
});

afterAll(() => expect(gpu.memory.allocated, "bytes left behind by this file").toBe(0));
