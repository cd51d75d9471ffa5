/** An op's case list as its test. */
import { expect, test } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import type { OpCases } from "../../src/check/sweep/case.ts";
import { sweep } from "../../src/check/sweep/sweep.ts";
import { limitedGpu, testGpu } from "./gpu.ts";

const shared = globalThis as { cogwheelUniformGpu?: Promise<Gpu> };

/**
 * Tests the tiny and odd cases of an op: every kernel that this adapter runs, in f32 and f16,
 * with parameters in immediates and in a uniform.
 */
export function sweepTests(list: OpCases): void {
  test(`${list.op}: the tiny and the odd cases of its list`, { timeout: 300_000 }, async () => {
    const report = await sweep(await testGpu(), await (shared.cogwheelUniformGpu ??= limitedGpu({ immediates: false })), {
      lists: [list],
      sizes: ["tiny", "odd"],
    });
    expect(report.problems).toEqual([]);
    expect(report.cases).toBeGreaterThan(0);
  });
}
