/** How long a plan takes follows from measured rates: of its own kernels, else of those that are most like them. */
import { describe, expect, it } from "vitest";
import type { Rates } from "../../src/gpu/rates.ts";
import type { Plan } from "../../src/plan/compile.ts";
import { Clock } from "../../src/plan/seconds.ts";

const GIGA = 1e9;
/** Steps of a plan as the clock looks at them: label, operations, bytes. */
const planOf = (...steps: readonly (readonly [label: string, flops: number, bytes: number])[]): Plan =>
  ({ steps: steps.map(([label, flops, bytes]) => ({ label, cost: { flops, bytes } })) }) as unknown as Plan;
const rates = (kernels: Rates["kernels"], more: Partial<Rates> = {}): Rates => ({
  kernels,
  dispatchSeconds: 0,
  pipelineSeconds: 0,
  ...more,
});

const KERNELS = {
  "matmul_tiled BIAS=1": { flops: 100 * GIGA, bytes: GIGA, seconds: 1 },
  "matmul_tiled X=f16": { flops: 400 * GIGA, bytes: GIGA, seconds: 1 },
  matmul_rows: { flops: GIGA, bytes: GIGA, seconds: 0.1 },
  layer_norm_row: { flops: GIGA, bytes: 10 * GIGA, seconds: 1 },
};

describe("a step takes", () => {
  const clock = new Clock(rates(KERNELS));
  it.for([
    ["what its own kernel took, by its operations where these are what takes the time", ["matmul_tiled BIAS=1", 50 * GIGA, GIGA], 0.5],
    ["by its bytes where they are", ["layer_norm_row", GIGA, 5 * GIGA], 0.5],
    ["of a kernel that was not measured, what the same took otherwise specialised", ["matmul_tiled GELU=1", 50 * GIGA, GIGA], 0.5],
    ["in the same type first", ["matmul_tiled GELU=1 X=f16", 200 * GIGA, GIGA], 0.5],
    ["then what another kernel of the op took", ["layer_norm_subgroup", GIGA, 5 * GIGA], 0.5],
    ["and never what one took that other things bound", ["matmul_tiled ROWS=8", GIGA, GIGA], 0.1],
  ] as const)("%s", ([, step, seconds]) => expect(clock.seconds(planOf(step))).toBeCloseTo(seconds, 9));

  it("what all of its kind took together, where nothing is like it", () => {
    // 500 GFLOP in 2 s, and 11 GB in 1.1 s.
    expect(clock.seconds(planOf(["conv3d_tiled", 250 * GIGA, GIGA]))).toBeCloseTo(1, 9);
    expect(clock.seconds(planOf(["pixels", 0, 11 * GIGA]))).toBeCloseTo(1.1, 9);
  });
});

it("a plan takes the sum of its steps, and what a dispatch takes for each", () => {
  const clock = new Clock(rates(KERNELS, { dispatchSeconds: 0.25 }));
  expect(clock.seconds(planOf(["matmul_tiled BIAS=1", 100 * GIGA, GIGA], ["layer_norm_row", GIGA, 10 * GIGA]))).toBeCloseTo(2.5, 9);
  expect(new Clock(rates({}, { dispatchSeconds: 0.25 })).seconds(planOf(["silu", 1, 1])), "nothing was measured").toBe(0.25);
});
