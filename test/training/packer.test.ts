import { describe, expect, test } from "vitest";
import { drawn } from "../../src/check/sweep/draw.ts";
import { Packer, type Sized } from "../../src/training/packing/packer.ts";

interface Clip extends Sized {
  readonly id: number;
}

/** 1 to 49 frames, log-uniform; short sides of 256 to 768; three aspects; 226 text tokens. */
function clips(seed: number, count = 1000): Clip[] {
  const draws = drawn(3 * count, seed).map((x) => (x + 1) / 2);
  return Array.from({ length: count }, (_, id) => {
    const [length, side, shape] = draws.subarray(3 * id, 3 * id + 3) as unknown as [number, number, number];
    const frames = Math.max(1, Math.min(49, Math.floor(50 ** length)));
    const short = 256 + side * (768 - 256);
    const aspect = [1, 4 / 3, 16 / 9][Math.floor(shape * 2.999)]!;
    return { id, tokens: 226 + (Math.floor((frames - 1) / 4) + 1) * Math.floor(short / 16) * Math.floor((short * aspect) / 16) };
  });
}

function packAll(all: readonly Clip[], packer: Packer<Clip>): Clip[][] {
  const packs: Clip[][] = [];
  let at = 0;
  for (;;) {
    while (packer.wants && at < all.length) packer.add(all[at++]!);
    const pack = packer.next();
    if (!pack) return packs;
    packs.push(pack);
  }
}
const largest = (all: readonly Clip[]): number => Math.max(...all.map(({ tokens }) => tokens));

describe("packs of drawn clips", () => {
  test.each([1, 2, 3, 4, 5])("fill 95 % of the budget, seed %i", (seed) => {
    const all = clips(seed);
    const budget = Math.floor(1.25 * largest(all));
    const packer = new Packer<Clip>({ budget });
    const packs = packAll(all, packer);
    expect(
      packs
        .flat()
        .map(({ id }) => id)
        .sort((a, b) => a - b),
    ).toEqual(all.map(({ id }) => id));
    const used = packs.map((pack) => pack.reduce((n, { tokens }) => n + tokens, 0));
    expect(Math.max(...used)).toBeLessThanOrEqual(budget);
    expect(used.reduce((a, b) => a + b) / (packs.length * budget)).toBeCloseTo(packer.fill, 12);
    expect(packer.fill).toBeGreaterThanOrEqual(0.95);
  });

  test("fill less without the window: packing in the order of the data does not reach it", () => {
    const all = clips(1);
    const packer = new Packer<Clip>({ budget: Math.floor(1.25 * largest(all)), window: 1 });
    packAll(all, packer);
    expect(packer.fill).toBeLessThan(0.9);
  });

  test("each has the clip that waited longest, and not more clips than asked", () => {
    const all = clips(6, 300);
    const packer = new Packer<Clip>({ budget: 3 * largest(all), clips: 4, window: 64 });
    let at = 0;
    while (packer.wants) packer.add(all[at++]!);
    for (let oldest = packer.waiting[0]; oldest; oldest = packer.waiting[0]) {
      const pack = packer.next()!;
      expect(pack).toContain(oldest);
      expect(pack.length).toBeLessThanOrEqual(4);
      while (packer.wants && at < all.length) packer.add(all[at++]!);
    }
  });
});

test("a packer goes on from what another had waiting, to the same packs", () => {
  const all = clips(7, 400);
  const options = { budget: Math.floor(1.25 * largest(all)), window: 50 };
  const whole = packAll(all, new Packer<Clip>(options));
  const first = new Packer<Clip>(options);
  let at = 0;
  for (let i = 0; i < 9; i++) {
    while (first.wants) first.add(all[at++]!);
    first.next();
  }
  const saved = JSON.parse(JSON.stringify(first.waiting)) as Clip[];
  expect(packAll(all.slice(at), new Packer<Clip>(options, saved))).toEqual(whole.slice(9));
});

test("what cannot be packed is refused", () => {
  const packer = new Packer<Clip>({ budget: 100 });
  expect(() => packer.add({ id: 0, tokens: 101 })).toThrow(/\[training\] a clip must fit the token budget of 100, got one of 101/);
  expect(packer.next()).toBeUndefined();
  expect(() => new Packer({ budget: 0 })).toThrow(/must be at least 1, got 0/);
});
