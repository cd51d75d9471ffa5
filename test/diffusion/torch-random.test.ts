import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { TorchGenerator } from "../../src/diffusion/torch-random.ts";

interface Case {
  seed: string;
  shapes: number[][];
  values: number[];
}

const fixture = JSON.parse(readFileSync(new URL("fixtures/randn.json", import.meta.url), "utf8")) as {
  torch: string;
  cases: Case[];
};

const TOLERANCE = 1e-6;

for (const { seed, shapes, values } of fixture.cases) {
  const name = `randn of seed ${seed}, shapes ${shapes.map((shape) => `[${shape.join(", ")}]`).join(" ")} is torch's`;
  test(name, () => {
    const generator = new TorchGenerator(BigInt(seed));
    const got = shapes.flatMap((shape) => [...generator.randn(shape)]);
    expect(got.length).toBe(values.length);
    let worst = 0;
    let at = 0;
    for (let i = 0; i < got.length; i++) {
      const error = Math.abs(got[i]! - values[i]!);
      if (!(error <= worst)) [worst, at] = [error, i];
    }
    expect(
      worst,
      `value ${at}: got ${got[at]}, torch ${fixture.torch} has ${values[at]}: ` +
        `${worst} uses ${(worst / TOLERANCE).toFixed(2)} of the tolerance`,
    ).toBeLessThanOrEqual(TOLERANCE);
  });
}

test("one big draw equals torch's moments and is the same twice", () => {
  const draw = new TorchGenerator(5).randn([64, 1024]);
  expect(draw).toEqual(new TorchGenerator(5).randn([64 * 1024]));
  const mean = draw.reduce((sum, value) => sum + value, 0) / draw.length;
  const variance = draw.reduce((sum, value) => sum + value * value, 0) / draw.length;
  expect(Math.abs(mean)).toBeLessThan(0.02);
  expect(Math.abs(variance - 1)).toBeLessThan(0.02);
});

test("manualSeed starts over and drops the kept half of a pair", () => {
  const generator = new TorchGenerator(3);
  const first = generator.randn([3]);
  generator.manualSeed(3);
  expect(generator.randn([3])).toEqual(first);
});

test("a number and a bigint are one seed", () => {
  expect(new TorchGenerator(-1).randn([20])).toEqual(new TorchGenerator((1n << 64n) - 1n).randn([20]));
});

test("seeds and shapes that torch refuses are refused", () => {
  expect(() => new TorchGenerator(1.5)).toThrow("[random] a seed must be a whole number, got 1.5; above 2^53 pass a bigint");
  expect(() => new TorchGenerator(1n << 64n)).toThrow(
    "[random] a seed must lie within -2^63 to 2^64 - 1, got 18446744073709551616; choose a smaller one",
  );
  expect(() => new TorchGenerator(NaN)).toThrow("got NaN");
  expect(() => new TorchGenerator(0).randn([2, -1])).toThrow("[random] a shape must hold whole numbers from 0, got [2, -1]; correct it");
});

test("uniform is torch's uniform_, whose bounds kaiming_uniform_ computes", () => {
  // torch.empty(2, 5).uniform_(-0.25, 0.25, generator=torch.Generator().manual_seed(5))
  const want = [0.16512594, -0.18694454, 0.20373484, 0.15996352, 0.21005172, -0.19167739, -0.16780424, 0.1189597, -0.23336768, 0.24709237];
  new TorchGenerator(5).uniform([2, 5], -0.25, 0.25).forEach((v, i) => void expect(v).toBeCloseTo(want[i]!, 7));
  // torch.nn.init.kaiming_uniform_(torch.empty(4, 6), a=5**0.5, generator=torch.Generator().manual_seed(7))
  const bound = 1 / Math.sqrt(6);
  const first = [0.028514136, -0.24592617, 0.129995808, 0.12810038, -0.21819928, -0.061187111];
  const drawn = new TorchGenerator(7).uniform([4, 6], -bound, bound);
  first.forEach((v, i) => void expect(drawn[i]).toBeCloseTo(v, 7));
});
