/** Some cases of a list by every kernel that takes them, for ops whose kernels take seconds to compile. */
import { expect, test } from "vitest";
import type { OpCases } from "../../src/check/sweep/case.ts";
import type { Precision } from "../../src/check/sweep/draw.ts";
import { measureCase, planCase } from "../../src/check/sweep/run-case.ts";
import { testGpu } from "./gpu.ts";

/** A test for each kernel of the list that this adapter has: the tiny and odd cases whose names match, as the engine would choose it for them. */
export function someCaseTests(list: OpCases, wanted: Readonly<Record<Precision, RegExp>>): void {
  const kinds = list.kernels.map((choice) => [`${choice.kernel.name}, ${choice.when.kind} kernels`, choice] as const);
  test.for(kinds)(`${list.op} by %s`, { timeout: 120_000 }, async ([, choice], { skip }) => {
    const gpu = await testGpu();
    const { kind } = choice.when;
    skip(choice.needs?.({ ...gpu.caps, ...(kind ? { kind } : {}) }) !== undefined, `needs ${choice.needs?.(gpu.caps)}`);
    for (const precision of ["f32", "f16"] as const) {
      if (precision === "f16" && !gpu.caps.f16) continue;
      for (const c of list.cases) {
        if (c.size === "model" || !wanted[precision].test(c.name) || choice.takes?.(c, gpu.caps, precision) === false) continue;
        const planned = planCase(list, c, choice, precision, gpu.caps);
        for (const { output, error, failed, worst } of await measureCase(gpu, planned))
          expect(failed, `${c.name}: ${output} ${precision} is off by ${error}, at [${worst.at.join(", ")}]`).toBe(false);
      }
    }
  });
}
