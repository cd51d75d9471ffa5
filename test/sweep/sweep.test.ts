/** The sweep itself: the published models take nothing that no case runs, what is asked for is what runs, and a wrong result is seen. */
import { describe, expect, test } from "vitest";
import { silu as siluKernel } from "#kernels";
import type { Capabilities } from "../../src/gpu/capabilities.ts";
import type { Kernel } from "../../src/gpu/kernel.ts";
import { silu } from "../../src/ops/silu.ts";
import type { OpCases } from "../../src/check/sweep/case.ts";
import { oneKernel } from "../../src/check/sweep/listed-kernels.ts";
import { allCases } from "#sweep-cases";
import { planCase } from "../../src/check/sweep/run-case.ts";
import { unsweptKernels } from "../../src/check/sweep/coverage.ts";
import { PRECISIONS } from "../../src/check/sweep/matrix.ts";
import { sweep } from "../../src/check/sweep/sweep.ts";
import { testGpu } from "../support/gpu.ts";

const caps = (lanes: number): Capabilities => ({
  kind: "software",
  vendor: "",
  architecture: "",
  description: `${lanes} lanes`,
  f16: true,
  subgroups: { min: lanes, max: lanes },
  subgroupMatrices: [],
  timestamps: false,
  dotI8: true,
  immediates: true,
  maxBindingBytes: 128 << 20,
  maxBufferBytes: 2 ** 32,
  maxWorkgroupInvocations: 256,
  maxWorkgroupBytes: 32768,
  maxStorageBuffers: 8,
  maxGrid: 65535,
  offsetAlignment: 256,
});

describe.each([4, 8])("planned for adapters of %d lanes", (lanes) => {
  test("every case takes the kernel that it is listed for, and the published models take no other", () => {
    const adapter = caps(lanes);
    const labels = new Set<string>();
    const refused: string[] = [];
    for (const list of allCases)
      for (const c of list.cases)
        for (const precision of PRECISIONS)
          for (const choice of list.kernels) {
            if (choice.needs?.(adapter) !== undefined || (choice.takes && !choice.takes(c, adapter, precision))) continue;
            try {
              for (const label of planCase(list, c, choice, precision, adapter).labels) labels.add(label);
            } catch (error) {
              refused.push(`${list.op} ${c.name}, ${precision}, ${choice.kernel.name}: ${(error as Error).message}`);
            }
          }
    expect(refused).toEqual([]);
    expect(unsweptKernels(adapter, labels)).toEqual([]);
  });
});

describe("on this adapter", () => {
  test("a wrong result, and a kernel that is not the one asked for, are problems", async () => {
    const list = (kernel: unknown, off: number): OpCases => ({
      op: "silu",
      kernels: oneKernel(kernel as Kernel),
      tolerance: { f32: 1e-6, f16: 1e-6 },
      cases: [
        {
          size: "tiny",
          name: "four",
          half: [],
          record: (draw) => ({ y: silu(draw.input32("x", [4])) }),
          reference: ({ x }) => ({ y: Float64Array.from(x!, (v) => v / (1 + Math.exp(-v)) + off) }),
        },
      ],
    });
    const run = async (l: OpCases) => (await sweep(await testGpu(), null, { lists: [l], sizes: ["tiny"] })).problems.join("\n");
    expect(await run(list(siluKernel, 0))).toBe("");
    expect(await run(list(siluKernel, 1e-3))).toMatch(
      /^silu four, f32, silu: y: relative L2 .*, worst at \[\d\]: got .*, expected .* \(tolerance 0\.000001\)$/,
    );
    expect(await run(list({ ...siluKernel, name: "silu_other" }, 0))).toMatch(
      /\[sweep\] the engine must choose silu_other for silu four, got silu; /,
    );
  });
});
