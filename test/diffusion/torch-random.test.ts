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
