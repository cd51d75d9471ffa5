/** How long a plan takes follows from measured rates: of its own kernels, else of those that are most like them. */
import { describe, expect, it } from "vitest";
import type { Tensor } from "../../src/graph/tensor.ts";
import type { KernelRate, Rates } from "../../src/gpu/rates.ts";
import type { Plan } from "../../src/plan/compile.ts";
import { Clock } from "../../src/plan/seconds.ts";

const GIGA = 1e9;
/** Steps of a plan as the clock looks at them: label, operations, bytes. */
const planOf = (...steps: readonly (readonly [label: string, flops: number, bytes: number, weight?: Tensor])[]): Plan =>
  ({
    steps: steps.map(([label, flops, bytes, weight]) => ({
      label,
      cost: { flops, bytes },
      dispatch: { bindings: weight ? { weight: { tensor: weight } } : {} },
    })),
  }) as unknown as Plan;
const rates = (kernels: Readonly<Record<string, KernelRate | readonly KernelRate[]>>, more: Partial<Rates> = {}): Rates => ({
  kernels: Object.fromEntries(Object.entries(kernels).map(([label, rate]) => [label, [rate].flat() as KernelRate[]])),
  dispatchSeconds: 0,
  runSeconds: 0,
  bindSeconds: 0,
  pipelineSeconds: 0,
  firstRunSeconds: 0,
  first: {},
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

describe("of a kernel that was measured at several sizes, work takes", () => {
  const at = (giga: number, seconds: number): KernelRate => ({ flops: giga * GIGA, bytes: GIGA / 1000, seconds });
  // A launch takes a second, whatever it does; from 100 GFLOP on the rate is steady.
  const clock = new Clock(rates({ matmul_tiled: [at(100, 10), at(1, 1), at(10, 1), at(1000, 100)] }));
  const seconds = (giga: number) => clock.seconds(planOf(["matmul_tiled", giga * GIGA, GIGA / 1000]));
  it.for([
    ["what it took there", 100, 10],
    ["a launch, where it is that which takes the time", 3, 1],
    ["and with less than was measured", 0.5, 1],
    ["as much more as there is more of it, at a steady rate", 300, 30],
    ["and with more than was measured", 5000, 500],
    ["something between these, between them", Math.sqrt(10 * 100), Math.sqrt(10)],
  ] as const)("%s", ([, giga, expected]) => expect(seconds(giga)).toBeCloseTo(expected, 9));

  it("what it took with weights of the same shape, where it was measured with several", () => {
    const narrow = { root: { role: "weight" }, shape: [3, 64], size: 192 } as unknown as Tensor;
    const wide = { ...narrow, shape: [64, 64], size: 4096 } as unknown as Tensor;
    const both = new Clock(rates({ conv: [{ ...at(10, 5), weight: "3×64" }, { ...at(10, 1), weight: "64×64" }, at(10, 3)] }));
    const took = (weight?: Tensor) => both.seconds(planOf(["conv", 20 * GIGA, GIGA / 1000, weight]));
    expect([took(narrow), took(wide), took()]).toEqual([10, 2, 6]);
    const other = { ...wide, shape: [8, 8], size: 64 } as unknown as Tensor;
    expect(took(other), "of another shape, the mean").toBeCloseTo(6, 9);
  });

  it("the mean of dispatches that are about as much", () => {
    const two = new Clock(rates({ matmul_tiled: [at(100, 1), at(104, 3)] }));
    expect(two.seconds(planOf(["matmul_tiled", 102 * GIGA, GIGA / 1000]))).toBeCloseTo(2, 9);
  });

  it("no longer for less, where the least was measured too long", () => {
    const odd = new Clock(rates({ matmul_tiled: [at(1, 2), at(10, 1)] }));
    expect(odd.seconds(planOf(["matmul_tiled", 0.1 * GIGA, GIGA / 1000]))).toBeCloseTo(2, 9);
  });
});

it("a plan takes the sum of its steps, what a dispatch takes for each, and what a run takes", () => {
  const clock = new Clock(rates(KERNELS, { dispatchSeconds: 0.25, runSeconds: 0.5 }));
  expect(clock.seconds(planOf(["matmul_tiled BIAS=1", 100 * GIGA, GIGA], ["layer_norm_row", GIGA, 10 * GIGA]))).toBeCloseTo(3, 9);
  expect(new Clock(rates({}, { dispatchSeconds: 0.25 })).seconds(planOf(["silu", 1, 1])), "nothing was measured").toBe(0.25);
});
