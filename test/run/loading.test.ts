/** Weights on their way to the adapter: packed as they come, through bounded memory. */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { memorySource } from "../../src/sources/memory.ts";
import { toFloat16, toFloat32 } from "../../src/files/convert.ts";
import type { SafetensorsDType } from "../../src/files/safetensors-dtype.ts";
import { writeSafetensors } from "../../src/files/safetensors.ts";
import type { CheckpointSource } from "../../src/sources/source.ts";
import { findWeights } from "../../src/checkpoint/weight-index.ts";
import { FILL_BYTES, UPLOAD_BYTES } from "../../src/gpu/uploader.ts";
import type { WeightRequest } from "../../src/plan/compile.ts";
import type { DType } from "../../src/graph/dtype.ts";
import { packedBytes, type NumberPacking, type Packing } from "../../src/graph/packing.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { storedValues, type WeightProvider } from "../../src/run/weight-provider.ts";
import { ComponentWeights } from "../../src/checkpoint/component-weights.ts";
import { parseT5Config } from "../../src/models/t5/config.ts";
import { expectedT5Weights } from "../../src/models/t5/weights.ts";
import { machineBytes, refuseBeyond } from "../../src/pipelines/requirements.ts";
import { toHalf, values } from "../support/compare.ts";
import { packed, type WeightValues } from "../support/packed.ts";
import { limitedGpu, testGpu } from "../support/gpu.ts";
import { removeTinyCheckpoints, tinyCheckpoint, TINY_CONFIGS, toBrain } from "../support/tiny-checkpoint.ts";

const ROOT = join(import.meta.dirname, "../..");
afterAll(removeTinyCheckpoints);

const request = (names: string[], shape: number[], packing: Packing, dtype: DType): WeightRequest => ({
  key: `${names.join("+")} ${packing}`,
  names,
  shape,
  packing,
  dtype,
  bytes: packedBytes(shape, packing, dtype),
});

async function expectLoaded(
  store: WeightStore,
  requests: readonly WeightRequest[],
  whole: (r: WeightRequest) => WeightValues,
): Promise<void> {
  await store.load(requests);
  for (const r of requests) {
    const buffer = store.get(r.key);
    const got = Buffer.from(await store.gpu.read(buffer));
    const want = packed(whole(r), r.shape, r.packing as NumberPacking);
    const expected = Buffer.alloc(buffer.size); // zeros past the end
    Buffer.from(want.buffer, want.byteOffset, want.byteLength).copy(expected);
    if (!got.equals(expected))
      expect.fail(
        `${r.key} [${r.shape.join(", ")}] ${r.dtype}: ` +
          `byte ${got.findIndex((byte, i) => byte !== expected[i])} of ${expected.length} differs`,
      );
  }
}

function inMemory(all: Readonly<Record<string, WeightValues>>): WeightProvider {
  return {
    type: (name) => (all[name] instanceof Uint16Array ? "f16" : "f32"),
    stored: (name) => storedValues(name, all[name]!),
  };
}

describe("packing as the values come", () => {
  // Outputs and inputs below, at and past the blocks of 16, 8 and 4; convolutions; one whole wide row.
  const shapes: [number[], Packing[]][] = [
    [
      [1, 1],
      ["panel", "row", "natural"],
    ],
    [
      [16, 4],
      ["panel", "row"],
    ],
    [
      [17, 3],
      ["panel", "row", "natural"],
    ],
    [
      [48, 64],
      ["panel", "row", "natural"],
    ],
    [
      [33, 130],
      ["panel", "row"],
    ],
    [[96, 258], ["panel"]],
    [
      [16, 4, 3, 3, 3],
      ["panel", "row"],
    ],
    [
      [19, 5, 1, 3, 3],
      ["panel", "row"],
    ],
    [
      [32, 8, 3, 1, 1],
      ["panel", "row"],
    ],
    [
      [3, 2048],
      ["panel", "row"],
    ],
    [[1], ["vector", "natural"]],
    [[16], ["vector"]],
    [[37], ["vector", "natural"]],
    [[1920], ["vector"]],
    [[5, 7], ["vector"]],
  ];
  for (const dtype of ["f32", "f16"] as const)
    it(`gives the layouts by their definition, ${dtype}`, async () => {
      const gpu = await testGpu();
      const all: Record<string, WeightValues> = {};
      const requests = shapes.flatMap(([shape, packings], i) => {
        const data = values(
          shape.reduce((a, b) => a * b, 1),
          i + 1,
        );
        all[`w${i}`] = dtype === "f16" ? toHalf(data) : data;
        return packings.map((packing) => request([`w${i}`], shape, packing, dtype));
      });
      using store = new WeightStore(gpu, inMemory(all));
      await expectLoaded(store, requests, (r) => all[r.names[0]!]!);
    });

  it("joins weights, wherever they end in a block", async () => {
    const gpu = await testGpu();
    const all = { a: values(5 * 12, 1), b: values(16 * 12, 2), c: values(30 * 12, 3), d: values(3 * 12, 4) };
    const joined = Float32Array.from([...all.a, ...all.b, ...all.c, ...all.d]);
    using store = new WeightStore(gpu, inMemory(all));
    await expectLoaded(
      store,
      (["panel", "row", "natural", "vector"] as const).map((packing) => request(["a", "b", "c", "d"], [54, 12], packing, "f32")),
      () => joined,
    );
    await expect(store.load([request(["a", "b"], [20, 12], "panel", "f32")])).rejects.toThrow(
      "[weights] a + b must have shape [20, 12], got 252 values; check the checkpoint against its config",
    );
    await expect(store.load([request(["a", "b"], [22, 12], "row", "f32")])).rejects.toThrow(
      "[weights] a + b must have shape [22, 12], got 252 values",
    );
  });

  it("keeps the bits of a checkpoint's values, from every type to every type, NaN with payloads among them", async () => {
    const gpu = await testGpu();
    const shape = [40, 3000]; // more than is converted at once
    const data = values(shape[0]! * shape[1]!, 9, 3);
    const words = new Uint32Array(data.buffer);
    words[5] = 0x7fc12345;
    words[77] = 0xff800000;
    words[1000] = 0x00000001;
    for (const from of ["F32", "F16", "BF16"] as SafetensorsDType[]) {
      const stored = from === "F32" ? data : from === "F16" ? toHalf(data) : toBrain(data);
      const bytes = new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
      const index = await findWeights(
        memorySource({ "model.safetensors": writeSafetensors({ w: { dtype: from, shape, data: stored } }) }),
        "",
        "model",
      );
      const weights = ComponentWeights.open({ name: "text_encoder", config: {}, weights: index } as never, "f32");
      for (const dtype of ["f32", "f16"] as const) {
        const whole = dtype === "f16" ? toFloat16(bytes, from) : toFloat32(bytes, from);
        using store = new WeightStore(gpu, weights);
        await expectLoaded(
          store,
          (["panel", "row", "natural"] as const).map((packing) => request(["w"], shape, packing, dtype)),
          () => whole,
        );
      }
    }
  });
});

describe("memory on the way", () => {
  it("a weight that is larger than what is under way at once comes whole, and nothing of the way stays", async () => {
    const gpu = await limitedGpu({});
    const rows = Math.ceil((1.5 * UPLOAD_BYTES) / 4 / 4096);
    const data = new Float32Array(rows * 4096).map((_, i) => i);
    {
      using store = new WeightStore(gpu, {
        type: () => "f32",
        stored: (name) => storedValues(name, name === "a" ? data : data.subarray(0, 48)),
      });
      const r = [request(["b"], [48], "vector", "f32"), request(["a"], [rows, 4096], "natural", "f32")];
      await store.load(r);
      expect(Buffer.from(await gpu.read(store.get(r[1]!.key))).equals(Buffer.from(data.buffer))).toBe(true);
      expect(new Float32Array(await gpu.read(store.get(r[0]!.key)))).toEqual(data.slice(0, 48));
      expect(gpu.memory.allocated).toBe(data.byteLength + 192);
      expect(gpu.memory.peak).toBeLessThan(data.byteLength + UPLOAD_BYTES + 4096);
    }
    expect(gpu.memory.allocated).toBe(0);
    await gpu[Symbol.asyncDispose]();
  });

  it("several reads are under way at once, of one weight and of many, and no more than there is room for", async () => {
    const gpu = await testGpu();
    const most = async (requests: readonly WeightRequest[]): Promise<number> => {
      let [now, peak] = [0, 0];
      const provider: WeightProvider = {
        type: () => "f16",
        stored: (label) => ({
          label,
          shape: requests.find(({ key }) => key.startsWith(`${label} `))!.shape,
          format: "f16",
          async read() {
            peak = Math.max(peak, ++now);
            await new Promise((resolve) => setTimeout(resolve, 20));
            now--;
          },
        }),
      };
      using store = new WeightStore(gpu, provider);
      await store.load(requests);
      return peak;
    };
    const large = await most([request(["w"], [12 * 1024, 4096], "natural", "f16")]); // 48 reads of 2 MiB
    expect(large).toBe(UPLOAD_BYTES / FILL_BYTES - 1);
    const small = await most(Array.from({ length: 40 }, (_, i) => request([`w${i}`], [64, 64], "natural", "f16")));
    expect(small).toBeGreaterThan(8);
  });

  it("an abort leaves what was read whole for the next time, and nothing of the rest", async () => {
    const gpu = await limitedGpu({});
    const controller = new AbortController();
    const read: string[] = [];
    const provider: WeightProvider = {
      type: () => "f32",
      stored: (name) => ({
        label: name,
        shape: [10, 16],
        format: "f32",
        async read(_start, into, signal) {
          read.push(name);
          new Float32Array(into.buffer, into.byteOffset, into.length / 4).fill(Number(name));
          if (name === "3") controller.abort(new Error("enough"));
          signal?.throwIfAborted();
        },
      }),
    };
    const store = new WeightStore(gpu, provider);
    const requests = ["1", "2", "3", "4"].map((name) => request([name], [10, 16], "panel", "f32"));
    await expect(store.load(requests, { signal: controller.signal })).rejects.toThrow("enough");
    expect(gpu.memory.allocated).toBe(2 * 16 * 16 * 4);
    expect(requests.map((r) => store.has(r.key))).toEqual([true, true, false, false]);
    const [, second] = requests;
    expect(new Float32Array(await gpu.read(store.get(second!.key))).filter((v) => v === 2).length).toBe(160);
    expect(read).toEqual(["1", "2", "3"]);
    store[Symbol.dispose]();
    expect(gpu.memory.allocated).toBe(0);
    await gpu[Symbol.asyncDispose]();
  });

  it("loads of one store that are asked for at once read each weight once, and leak nothing", async () => {
    const gpu = await limitedGpu({});
    const read: string[] = [];
    const store = new WeightStore(gpu, {
      type: () => "f32",
      stored: (name) => (read.push(name), storedValues(name, new Float32Array(256).fill(Number(name)))),
    });
    const requests = ["1", "2", "3"].map((name) => request([name], [16, 16], "panel", "f32"));
    const failing = store.load([request(["4"], [16, 17], "panel", "f32")]);
    await Promise.all([expect(failing).rejects.toThrow("must have shape [16, 17]"), store.load(requests), store.load(requests.slice(1))]);
    expect(read).toEqual(["4", "1", "2", "3"]);
    expect(gpu.memory.allocated).toBe(3 * 1024);
    store[Symbol.dispose]();
    expect(gpu.memory.allocated).toBe(0);
    await gpu[Symbol.asyncDispose]();
  });

  it("where the adapter runs out of memory the error says so, and what was loaded is freed and read again", async () => {
    const gpu = await limitedGpu({});
    const { device } = gpu;
    const store = new WeightStore(gpu, { type: () => "f32", stored: (name) => storedValues(name, new Float32Array(256)) });
    const requests = ["1", "2", "3"].map((name) => request([name], [16, 16], "panel", "f32"));
    await store.load(requests.slice(0, 1));
    // An invalid buffer, as one is that there is no memory for: its use is a validation error, which is asked for first.
    const [create, pop] = [device.createBuffer.bind(device), device.popErrorScope.bind(device)];
    let popped = 0;
    device.createBuffer = (descriptor) =>
      create(
        descriptor.label === requests[1]!.key ? { ...descriptor, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE } : descriptor,
      );
    device.popErrorScope = async () => {
      const error = await pop();
      return ++popped === 3 ? new GPUOutOfMemoryError("vkAllocateMemory failed") : error;
    };
    await expect(store.load(requests, { what: "preparing a test" })).rejects.toThrow(
      /^\[gpu\] the adapter is out of memory in preparing a test \(\d+ bytes are allocated\); choose a smaller size/,
    );
    Object.assign(device, { createBuffer: create, popErrorScope: pop });
    expect(
      requests.map(({ key }) => store.has(key)),
      "what was there before stays",
    ).toEqual([true, false, false]);
    expect(gpu.memory.allocated).toBe(1024);
    await store.load(requests);
    expect(gpu.memory.allocated).toBe(3 * 1024);
    store[Symbol.dispose]();

    device.createBuffer = (descriptor) => {
      if (descriptor.label === "upload") throw new RangeError("createBuffer failed, size is too large for the implementation");
      return create(descriptor);
    };
    await expect(new WeightStore(gpu, store.provider).load(requests)).rejects.toThrow(
      /^\[gpu\] uploading 3072 bytes at once failed: createBuffer failed, .*; free memory, or choose/,
    );
    await gpu[Symbol.asyncDispose]();
  });

  it("a source that reads into memory of its own gives the same, and one that gives too little is told", async () => {
    const gpu = await testGpu();
    const shape = [256, 128];
    const data = values(256 * 128, 5);
    const file = writeSafetensors({ w: { dtype: "BF16", shape, data: toBrain(data) } });
    const load = async (answer: (bytes: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer>): Promise<void> => {
      const memory = memorySource({ "model.safetensors": file });
      const source: CheckpointSource = {
        ...memory,
        label: "an app's own",
        read: async (path, start, end) => answer(await memory.read(path, start, end)),
      };
      const component = { name: "text_encoder", config: {}, weights: await findWeights(source, "", "model") };
      using store = new WeightStore(gpu, ComponentWeights.open(component as never, "f32"));
      const whole = toFloat32(new Uint8Array(toBrain(data).buffer), "BF16");
      await expectLoaded(store, [request(["w"], shape, "panel", "f32")], () => whole);
    };
    await load((bytes) => bytes);
    await expect(load((bytes) => (bytes.length > 1000 ? bytes.subarray(0, 100) : bytes))).rejects.toThrow(
      "[checkpoint] model.safetensors: w: a source must give the 65536 bytes that are asked for, got 100; " +
        "correct its read (in an app's own)",
    );
  });

  it.each([[[16, 0]], [[16, 4, 0]], [[0]]])("a weight of no values, %j, is refused", async (shape) => {
    using store = new WeightStore(await testGpu(), inMemory({ w: new Float32Array(0) }));
    await expect(store.load([request(["w"], shape, shape.length > 1 ? "panel" : "vector", "f32")])).rejects.toThrow(
      `[weights] a weight must have values to be loaded, got the shape [${shape.join(", ")}]; leave it out`,
    );
  });

  it("a refusal counts what loading takes beside the weights, on CPU adapters and GPUs", () => {
    const needs = { weights: 8e9, activations: 1e9, io: 0, states: 0, total: 9e9, host: 0 };
    const software = { kind: "software" } as never;
    const most = machineBytes(needs, software);
    const way = (18 << 20) + (256 << 10);
    expect(most).toBe(9e9 + way);
    expect(machineBytes(needs, { kind: "hardware" } as never)).toBe(way);
    refuseBeyond(most, "generate", "the transformer", needs, software);
    // What it takes, and not a byte less: weights and activations alone are not enough.
    expect(() => refuseBeyond(9e9, "generate", "the transformer", needs, software)).toThrow(
      "[generate] the transformer needs 9.0 GB (weights 8.0 GB, activations 1.0 GB, loading 19 MB), " +
        "got 9.0 GB of free memory; choose a smaller size or fewer frames",
    );
    expect(machineBytes({ ...needs, weights: 1e6, total: 1e9 + 1e6 }, software)).toBe(1e9 + 5e6 + (256 << 10));
  });

  it("a process that loads 200 MB of weights takes what was planned, and no second copy of them", async () => {
    // T5 of three blocks, 51 million parameters: f16 in the file, f32 on the adapter.
    const config = { ...TINY_CONFIGS.text_encoder, d_model: 1024, d_kv: 64, num_heads: 16, d_ff: 4096, num_layers: 3 };
    const folder = await tinyCheckpoint({ shaped: true, configs: { transformer: { text_embed_dim: 1024 } } });
    const some = toHalf(values(65_536, 1, 0.02));
    const block = Buffer.from(some.buffer);
    writeFileSync(join(folder, "text_encoder/config.json"), JSON.stringify(config));
    writeFileSync(
      join(folder, "text_encoder/model.safetensors"),
      writeSafetensors(
        new Map(
          [...expectedT5Weights(parseT5Config(config))].map(([name, shape]) => [
            name,
            { dtype: "F16" as const, shape, data: Buffer.alloc(2 * shape.reduce((a, b) => a * b, 1), block) },
          ]),
        ),
      ),
    );
    const script = join(folder, "load.mjs");
    writeFileSync(
      script,
      `
      import { existsSync, readFileSync } from "node:fs";
      import { CogVideoX } from ${JSON.stringify(join(ROOT, "dist/node.js"))};
      // Linux hands the maxRSS of whoever started a process down to it; VmHWM is its own.
      const status = "/proc/self/status";
      const most = () =>
        1024 * (existsSync(status) ? Number(/VmHWM:\\s+(\\d+)/.exec(readFileSync(status, "utf8"))[1]) : process.resourceUsage().maxRSS);
      const model = await CogVideoX.open(${JSON.stringify(folder)}, { dtype: "f32" });
      const [{ weights }] = model.requirements();
      const before = process.memoryUsage.rss();
      const controller = new AbortController();
      let peak;
      await model.generate({ prompt: "a", seed: 1, signal: controller.signal, onProgress(stage) {
        if (stage !== "encode prompt" || peak) return;
        peak = most();
        controller.abort();
      } }).catch((error) => { if (error.name !== "AbortError") throw error; });
      console.log(JSON.stringify({ weights, before, peak, adapter: model.gpu.name }));
      await model[Symbol.asyncDispose]();
    `,
    );
    execFileSync(process.execPath, ["build.mjs", "--if-stale"], { cwd: ROOT });
    const run = () =>
      JSON.parse(execFileSync(process.execPath, [script], { encoding: "utf8" })) as Record<"weights" | "before" | "peak", number> & {
        adapter: string;
      };
    run(); // Kernels compile while weights load, in memory of their own; the driver's cache has them then.
    const { weights, before, peak, adapter } = run();
    console.log(
      `${(weights / 1e6).toFixed(0)} MB of weights: resident ${(before / 1e6).toFixed(0)} → at most ${(peak / 1e6).toFixed(0)} MB`,
    );
    expect(weights).toBeGreaterThan(200e6);
    // SwiftShader has no such cache and compiles the encoder's kernels again, in 200 MB; a second copy would be as much again.
    expect(peak - before).toBeLessThan(weights + 150e6 + (/swiftshader/i.test(adapter) ? 200e6 : 0));
  });
});
