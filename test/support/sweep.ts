/** An op's case list of the sweep as its test. */
import { expect, test } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { allCases } from "../../src/check/sweep/cases/index.ts";
import { sweep } from "../../src/check/sweep/sweep.ts";
import { limitedGpu, testGpu } from "./gpu.ts";

const shared = globalThis as { cogwheelUniformGpu?: Promise<Gpu> };

/** Tests the tiny and odd cases of the op's list: every kernel that this adapter runs, in f32 and f16, with parameters in immediates and in a uniform. */
export function testCases(op: string): void {
  test(`${op}: the tiny and the odd cases of its list`, { timeout: 300_000 }, async () => {
    const list = allCases.find((one) => one.op === op);
    if (!list) throw new Error(`src/check/sweep/cases must have a list of ${op}, got none`);
    const report = await sweep(await testGpu(), await (shared.cogwheelUniformGpu ??= limitedGpu({ immediates: false })), {
      lists: [list],
      sizes: ["tiny", "odd"],
    });
    expect(report.problems).toEqual([]);
    expect(report.cases).toBeGreaterThan(0);
  });
}
