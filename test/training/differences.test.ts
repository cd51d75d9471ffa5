/** What a run that goes on is told to differ in: values by their places, of which stage. */
import { expect, test } from "vitest";
import { differences } from "../../src/training/differences.ts";

test("values are named by stage and key, lists whole", () => {
  const stage = (losses: object, steps = 2) => ({ steps, losses, lr: 1e-4 });
  const before = {
    seed: 1,
    stages: [stage({ kl: 1e-6 }), stage({ kl: 1e-6, disc: 0.5 })],
    data: ["a", "b"],
    optimizer: { betas: [0.9, 0.95] },
  };
  const now = {
    seed: 1,
    stages: [stage({ kl: 1e-6 }), stage({ kl: 1e-4 }, 3)],
    data: ["a", "c"],
    optimizer: { betas: [0.5, 0.9] },
    ema: null,
  };
  expect(differences(before, before)).toEqual([]);
  expect(differences(before, now)).toEqual([
    "stage 2: steps (2 then, 3 now)",
    "stage 2: losses.kl (0.000001 then, 0.0001 now)",
    "stage 2: losses.disc (0.5 then, nothing now)",
    'stage 2: data ("b" then, "c" now)',
    "optimizer.betas ([0.9,0.95] then, [0.5,0.9] now)",
  ]);
});

test("a run of one stage has no stages to name, and another number of them is a number", () => {
  const stages = (n: number) => ({ stages: Array.from({ length: n }, () => ({ lr: n })) });
  expect(differences(stages(1), { stages: [{ lr: 2 }] })).toEqual(["lr (1 then, 2 now)"]);
  expect(differences(stages(1), stages(3))).toEqual(["stages (1 then, 3 now)"]);
});

test("more than eight are counted, and long values cut", () => {
  const many = (value: string) => Object.fromEntries(Array.from({ length: 11 }, (_, i) => [`k${i}`, value]));
  const told = differences(many("a"), many("b".repeat(100)));
  expect(told.length).toBe(9);
  expect(told[8]).toBe("3 more");
  expect(told[0]!.length).toBeLessThan(90);
});
