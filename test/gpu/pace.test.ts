import { afterEach, expect, test, vi } from "vitest";
import { Pace } from "../../src/gpu/pace.ts";

afterEach(() => vi.restoreAllMocks());

/** An adapter of `rate` operations a millisecond, waited for as src/platform/wait-node.ts does: asleep for 0.8 of what is predicted. */
function adapter(rate: number) {
  let now = 0;
  let busyUntil = 0;
  let asleep = 0;
  vi.spyOn(performance, "now").mockImplementation(() => now);
  const pace = new Pace("software", async (predictedMs) => {
    const woken = now + 0.8 * predictedMs;
    asleep += Math.max(0, woken - Math.max(now, busyUntil));
    now = Math.max(woken, busyUntil);
  });
  return {
    pace,
    submit: async (flops: number) => {
      busyUntil = Math.max(now, busyUntil) + flops / rate;
      await pace.submitted(flops);
    },
    compile: (ms: number) => {
      busyUntil = Math.max(now, busyUntil) + ms;
    },
    get asleep() {
      return asleep;
    },
  };
}

test.each([3e5, 3e6, 5e7, 1e10])("no wait sleeps past its work, at %d operations a millisecond", async (rate) => {
  const device = adapter(rate);
  for (const flops of [4e9, 1e8, 4e9, 4e9, 1e7, 1e9]) {
    await device.submit(flops);
    await device.pace.drain();
  }
  expect(device.asleep).toBe(0);
});

test("the speed of an adapter far from the first guess is learned in a few waits", async () => {
  const device = adapter(5e7);
  for (let i = 0; i < 8; i++) {
    await device.submit(4e9);
    await device.pace.drain();
  }
  expect(device.pace.predict(5e7)).toBeCloseTo(1, 1);
});

test("a first dispatch that a driver compiles for seconds makes no later wait slow", async () => {
  const device = adapter(5e7);
  device.compile(6000);
  for (let i = 0; i < 8; i++) {
    await device.submit(4e9);
    await device.pace.drain();
  }
  expect(device.asleep).toBeLessThanOrEqual(40);
});

test("nor does one that took tens of milliseconds: the waits after it sleep half as long, not four fifths", async () => {
  const device = adapter(5e7);
  device.compile(30);
  for (let i = 0; i < 12; i++) {
    await device.submit(1e8); // 2 ms
    await device.pace.drain();
  }
  expect(device.asleep).toBeLessThan(60); // 97 where each sleeps four fifths of the one before
});

test("no more is under way than is asked for", async () => {
  let waits = 0;
  const pace = new Pace("hardware", async () => void waits++);
  const flops = 10.1 / pace.predict(1); // 10.1 ms
  for (let i = 0; i < 24; i++) await pace.submitted(flops);
  expect(waits).toBe(0);
  await pace.submitted(flops);
  expect(waits).toBe(1);
  for (let i = 0; i < 10; i++) await pace.submitted(flops, undefined, 50);
  expect(waits).toBe(3);
});
