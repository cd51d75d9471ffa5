/** Weights that are quantized while they are loaded: on the device, into the blocks that the host makes. */
import { expect, test } from "vitest";
import { quantizedWeights } from "../../src/checkpoint/quantized-weights.ts";
import { toFloat16 } from "../../src/files/convert.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { Profile } from "../../src/gpu/profile.ts";
import { FILL_BYTES } from "../../src/gpu/uploader.ts";
import { elements } from "../../src/graph/dtype.ts";
import { Graph } from "../../src/graph/graph.ts";
import type { Format } from "../../src/graph/stored.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { compile, type CompileOptions } from "../../src/plan/compile.ts";
import { Program } from "../../src/run/program.ts";
import { providerOf, type WeightProvider } from "../../src/run/weight-provider.ts";
import { loadingBytes, WeightStore } from "../../src/run/weight-store.ts";
import { values } from "../support/compare.ts";
import { limitedGpu, memoryWeights, testGpu } from "../support/gpu.ts";

test.each(["q8_0", "q4_0"] as const)("%s: products are those of blocks that the host made, which is not asked", async (format) => {
  const shapes = { "a.0.w": [24, 96], "a.1.w": [5, 32], "a.2.w": [700, 160] } as const;
  const matrices = Object.fromEntries(
    Object.entries(shapes).map(([name, shape], i) => [name, { data: values(shape[0] * shape[1], i), shape }]),
  );
  const weights = quantizedWeights(memoryWeights(matrices), format, () => false);
  let asked = 0;
  /** By what is read of them: blocks, or the values alone. */
  const watched = (blocks: boolean): WeightProvider => ({
    ...providerOf(weights),
    stored(name) {
      const { plain, ...weight } = weights.stored(name);
      const read: typeof weight.read = (...of) => {
        asked++;
        return weight.read(...of);
      };
      return { ...weight, read, ...(blocks ? {} : { plain: plain! }) };
    },
  });
  await using uniforms = await limitedGpu({ immediates: false, maxBindingBytes: 128 * 1024, maxGrid: 9 });
  for (const gpu of [await testGpu(), uniforms]) {
    const run = async (blocks: boolean) => {
      const graph = new Graph("quantized");
      for (const [name, [n, k]] of Object.entries(shapes))
        graph.output(name, matmul(graph.input(`x${name}`, [3, k]), graph.weight(name, [n, k])));
      using store = new WeightStore(gpu, watched(blocks));
      using program = await Program.create(gpu, compile(graph, gpu.caps, { asStored: () => format, slots: 1 }), store);
      const inputs = Object.fromEntries(Object.entries(shapes).map(([name, [, k]], i) => [`x${name}`, values(3 * k, 7 + i)]));
      await gpu.scoped("running", () => program.run({ inputs }));
      return await Promise.all(Object.keys(shapes).map((name) => program.read(name)));
    };
    asked = 0;
    const want = await run(true);
    expect(asked).toBeGreaterThan(0);
    asked = 0;
    expect(await run(false)).toEqual(want);
    expect(asked).toBe(0);
  }
});

/** Layers of two matrices, in f32, f16 and bf16; of one the values do not come at once, nor are its blocks made at once. */
const LAYERS = {
  "l.0.a": [[48, 64], "f32"],
  "l.0.b": [[2100, 320], "f32"],
  "l.1.a": [[17, 64], "f16"],
  "l.1.b": [[900, 320], "f16"],
  "l.2.a": [[1, 32], "bf16"],
  "l.2.b": [[333, 320], "bf16"],
} as const satisfies Record<string, readonly [readonly [number, number], Format]>;

function layers(quantized: "q8_0" | "q4_0"): { weights: WeightProvider; largest(): number; blocks(): number } {
  let [largest, blocks] = [0, 0];
  const stored = Object.fromEntries(
    Object.entries(LAYERS).map(([name, [shape, format]], i) => {
      const data = values(elements(shape), 20 + i);
      const all = format === "f32" ? data : format === "f16" ? toFloat16(asBytes(data), "F32") : bfloat16(data);
      const bytes = asBytes(all);
      const read = async (start: number, into: Uint8Array): Promise<void> => {
        largest = Math.max(largest, into.length);
        await new Promise((resolve) => setImmediate(resolve));
        into.set(bytes.subarray(start, start + into.length));
      };
      return [name, { label: name, shape, format, read }];
    }),
  );
  const weights = quantizedWeights({ type: () => "f32", stored: (name) => stored[name]! }, quantized, () => false);
  const watched: WeightProvider = {
    ...providerOf(weights),
    stored(name) {
      const weight = weights.stored(name);
      const read: typeof weight.read = (...of) => {
        blocks++;
        return weight.read(...of);
      };
      return { ...weight, read };
    },
  };
  return { weights: watched, largest: () => largest, blocks: () => blocks };
}

const asBytes = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array<ArrayBuffer> =>
  new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);

const bfloat16 = (data: Float32Array): Uint16Array => new Uint16Array(data.buffer).filter((_, i) => i % 2 === 1);

test.each(["q8_0", "q4_0"] as const)(
  "%s: what comes in every run gives the bytes of what stays, and the host makes no block",
  async (format) => {
    const { weights, largest, blocks } = layers(format);
    const run = async (gpu: Gpu, options: CompileOptions, profile?: Profile) => {
      const graph = new Graph("layers");
      for (const [name, [[n, k]]] of Object.entries(LAYERS))
        graph.output(name, matmul(graph.input(`x${name}`, [3, k]), graph.weight(name, [n, k])));
      const before = gpu.memory.allocated;
      const plan = compile(graph, gpu.caps, options);
      using store = new WeightStore(gpu, weights);
      using program = await Program.create(gpu, plan, store);
      const inputs = Object.fromEntries(Object.entries(LAYERS).map(([name, [[, k]]], i) => [`x${name}`, values(3 * k, 7 + i)]));
      const results: Buffer[] = [];
      for (let i = 0; i < 2; i++) {
        await gpu.scoped("running", () => program.run({ inputs, ...(profile ? { profile } : {}) }));
        const all = await Promise.all(Object.keys(LAYERS).map((name) => program.read(name)));
        results.push(Buffer.concat(all.map(asBytes)));
      }
      expect(results[1]!.equals(results[0]!)).toBe(true);
      return { results: results[0]!, besides: gpu.memory.peak - before - plan.bytes.total };
    };
    const want = await run(await testGpu(), { asStored: () => format, slots: 1 });
    for (const limits of [{}, { immediates: false, maxBindingBytes: 128 * 1024, maxGrid: 9 }])
      for (const slots of [0.01, 1, 2, 5]) {
        await using gpu = await limitedGpu(limits);
        using profile = new Profile(gpu);
        const got = await run(gpu, { stream: () => true, slots }, profile);
        expect(got.results.equals(want.results)).toBe(true);
        expect(got.besides).toBeLessThanOrEqual(loadingBytes(Infinity));
        // A source that stalls is found by its reads. Of more room they are over before the first run.
        if (slots > 1) continue;
        const read = profile.host.filter(({ kind }) => kind === "read");
        expect(new Set(read.map(({ name }) => name))).toEqual(new Set(Object.keys(LAYERS)));
      }
    // Some stay, as blocks, while others come.
    const part = await run(await testGpu(), { asStored: () => format, stream: ({ names }) => names[0]!.startsWith("l.0"), slots: 1.5 });
    expect(part.results.equals(want.results)).toBe(true);
    expect(largest()).toBeLessThanOrEqual(FILL_BYTES);
    expect(blocks()).toBe(0);
  },
);
