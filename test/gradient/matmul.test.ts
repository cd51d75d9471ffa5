/** The gradients of matmul through every epilogue, with every operand trained; and dX of weights, however they come to the device. */
import { describe, expect, test } from "vitest";
import { matmulCases } from "../../src/check/sweep/cases/matmul.ts";
import { quantizedWeights } from "../../src/checkpoint/quantized-weights.ts";
import { dequantize, quantize } from "../../src/files/quantize.ts";
import { differentiate } from "../../src/gradient/differentiate.ts";
import { watch } from "../../src/gradient/watch.ts";
import { Graph } from "../../src/graph/graph.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { compile, type CompileOptions } from "../../src/plan/compile.ts";
import { Program } from "../../src/run/program.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { expectClose, values } from "../support/compare.ts";
import { gradientTests } from "../support/gradients.ts";
import { limitedGpu, memoryWeights, testGpu } from "../support/gpu.ts";
import { matmulNnReference } from "../../src/check/sweep/cases/matmul_nn.ts";

/** One size for each epilogue, then what has no whole panels, few rows, heads of several widths and windows. */
const wanted = /^(1×4×4|2×68×48 bias activation|67×68×48 .*xwy?\)$|67×68×48 .*silu|.*, w |5×60×48|67×140×48|67×96×48|19×16×144)/;

// What rounds x to integers has no slope.
gradientTests(matmulCases, { cases: ({ name }) => wanted.test(name) && !name.includes("q8_0") });

describe.each([{ kind: "software" as const }, { kind: "hardware" as const }])("frozen weights, $kind kernels", ({ kind }) => {
  const [m, n, k] = [37, 64, 96];
  const weights = { "a.0.w": { data: values(n * k, 1, 0.1), shape: [n, k] }, "a.1.w": { data: values(k * n, 2, 0.1), shape: [k, n] } };
  const [x, dy] = [values(m * k, 3), values(m * k, 4)];
  const format = () => "q8_0" as const;

  /** x through both, and dx. */
  function graph(dtype: "f32" | "f16"): Graph {
    const made = new Graph("frozen", () => dtype);
    const input = watch(made.input("x", [m, k]));
    const y = matmul(matmul(input, made.weight("a.0.w", [n, k])), made.weight("a.1.w", [k, n]));
    const [dx] = differentiate([{ of: y, gradient: made.input("dy", [m, k]) }], [input]);
    made.output("y", y);
    made.output("dx", dx!);
    return made;
  }

  test.for(["f32", "f16"] as const)(
    "%s: dX is the same to the byte wherever they lie, and each lies there once",
    async (dtype, { skip }) => {
      skip(dtype === "f16" && !(await testGpu()).caps.f16, "needs an adapter with shader-f16");
      await using gpu = await limitedGpu({ kind });
      const run = async (options: CompileOptions) => {
        // Stored in 8 bits, but not multiplied so where a gradient goes through.
        const plan = compile(graph(dtype), gpu.caps, { ...options, formats: format });
        expect(plan.choices.some(({ candidates }) => candidates.some((label) => label.startsWith("dot_i8")))).toBe(false);
        using store = new WeightStore(
          gpu,
          quantizedWeights(memoryWeights(weights), "q8_0", () => false),
        );
        using program = await Program.create(gpu, plan, store);
        await program.run({ inputs: { x, dy } });
        await program.run(); // weights that come and go come again
        return { plan, out: [await program.read("y"), await program.read("dx")] as const };
      };
      const want = await run({});
      expect(want.plan.weights.size).toBe(2);
      for (const options of [
        { asStored: format, slots: 0.01 },
        { asStored: format, slots: 2 },
        { stream: () => true, slots: 1 },
      ] satisfies CompileOptions[]) {
        const { plan, out } = await run(options);
        expect(new Set(plan.slots.uploads.map(({ weight }) => weight.key)).size).toBe(2);
        expect(out).toEqual(want.out);
      }
      const numbers = (name: keyof typeof weights) => dequantize(quantize(weights[name].data, "q8_0"), "q8_0");
      const between = Float32Array.from(matmulNnReference({ m, n: k, k: n }, { x: dy, w: numbers("a.1.w") }));
      const dx = matmulNnReference({ m, n, k }, { x: between, w: numbers("a.0.w") });
      expectClose(want.out[1], dx, dtype === "f16" ? 1e-3 : 1e-5, [m, k]);
    },
  );
});
