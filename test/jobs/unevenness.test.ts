/** What workers of a queue waited for each other, which plans count with. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openEmbedded } from "../../src/jobs/embedded-node.ts";
import { keepUnevenness, readUnevenness } from "../../src/jobs/unevenness.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogwheel-unevenness-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

test("of the last three times the middle one is planned with, of two the lesser", async () => {
  await using backend = await openEmbedded(join(folder, "met"));
  const planned = (): Promise<number> => readUnevenness(backend, "decode time");
  // Ten seconds of work beside what was waited, two of that for the bytes.
  const meet = (beyond: number): Promise<void> =>
    keepUnevenness(backend, "decode time", { seconds: 12 + beyond, waitingSeconds: 2 + beyond, exchangeSeconds: 2 });
  expect(await planned()).toBe(0);
  await meet(5);
  expect(await planned()).toBeCloseTo(0.5, 9);
  await meet(1);
  expect(await planned()).toBeCloseTo(0.1, 9);
  await meet(2);
  expect(await planned()).toBeCloseTo(0.2, 9);
  await meet(3);
  expect(await planned()).toBeCloseTo(0.2, 9);
  // Less than the bytes were planned to take is no time gained.
  await keepUnevenness(backend, "steps", { seconds: 10, waitingSeconds: 1, exchangeSeconds: 2 });
  expect(await readUnevenness(backend, "steps")).toBe(0);
  expect(await planned()).toBeCloseTo(0.2, 9);
});

test("a record that is damaged stops no plan", async () => {
  await using backend = await openEmbedded(join(folder, "damaged"));
  await backend.values.put("unevenness", new TextEncoder().encode("no JSON"), 0);
  expect(await readUnevenness(backend, "steps")).toBe(0);
  await expect(keepUnevenness(backend, "steps", { seconds: 2, waitingSeconds: 1, exchangeSeconds: 0 })).resolves.toBeUndefined();
});
