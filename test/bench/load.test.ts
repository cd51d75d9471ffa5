/** The bench of loading: every way brings every byte, what arrives otherwise is not timed, and a browser does the same as Node. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { measureChromiumLoad } from "../../bench/load/chromium.ts";
import { fillPattern, measureLoad, type LoadFigures } from "../../bench/load/measure.ts";
import { measureNodeLoad } from "../../bench/load/node.ts";
import { WAYS } from "../../bench/load/ways.ts";
import { loadTables } from "../../bench/report/loading.ts";
import { testGpu } from "../support/gpu.ts";

/** More than a piece of every way, and no whole number of them. */
const BYTES = (17 << 20) + (64 << 10);

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogwheel-load-"));
});
afterAll(() => rm(folder, { recursive: true }));

function expectWhole(figures: LoadFigures, places: readonly string[]): void {
  expect(figures.rows.map(({ place, way }) => `${place}: ${way}`)).toEqual(
    places.flatMap((place) => ["read", ...WAYS, "engine"].map((way) => `${place}: ${way}`)),
  );
  for (const { rate } of figures.rows) expect(rate.median).toBeGreaterThan(0);
  expect(figures.copies.device.median).toBeGreaterThan(0);
}

test("in Node, from a file and over HTTP, beside cat", async () => {
  const figures = await measureNodeLoad(await testGpu(), folder, BYTES, 2);
  expectWhole(figures, ["file", "HTTP"]);
  expect(figures.cat!.median).toBeGreaterThan(0);
  const [table] = loadTables({ node: figures });
  expect(table!.title).toContain("cat ");
  expect(table!.rows.map(([place]) => place)).toEqual(["file", "HTTP"]);
  for (const row of table!.rows) expect(row).not.toContain("–");
}, 60_000);

test("in a worker of Chromium, over HTTP and from the private file system", async () => {
  const figures = await measureChromiumLoad(folder, BYTES, 1);
  expectWhole(figures, ["HTTP", "OPFS, sync access handle"]);
}, 120_000);

test("what arrives otherwise than it lay is not timed", async () => {
  const read = async (start: number, into: Uint8Array<ArrayBuffer>): Promise<void> => {
    fillPattern(into, start);
    if (start <= 9_000_000 && start + into.length > 9_000_000) into[9_000_000 - start]! ^= 1;
  };
  await expect(measureLoad(await testGpu(), [{ name: "there", read }], BYTES, 1)).rejects.toThrow(
    "there, mapped ring: byte 9000000 arrived otherwise than it was read",
  );
});
