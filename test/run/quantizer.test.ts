/** Weights that are quantized while they are loaded: on the device, into the blocks that the host makes. */
import { expect, test } from "vitest";
import { quantizedWeights } from "../../src/checkpoint/quantized-weights.ts";
import { Graph } from "../../src/graph/graph.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { compile } from "../../src/plan/compile.ts";
import { Program } from "../../src/run/program.ts";
import { providerOf, type WeightProvider } from "../../src/run/weight-provider.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
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
