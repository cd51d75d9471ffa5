/** The bench of loading: every way brings every byte, what arrives otherwise is not timed, and a browser does the same as Node. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { measureChromiumLoad } from "../../bench/load/chromium.ts";
import { measureComponents } from "../../bench/load/component.ts";
import { fillPattern, measureLoad, type LoadFigures } from "../../bench/load/measure.ts";
import { measureNodeLoad } from "../../bench/load/node.ts";
import { measureStreaming } from "../../bench/load/streaming.ts";
import { measureUnpacking } from "../../bench/load/unpacking.ts";
import { WAYS } from "../../bench/load/ways.ts";
import { loadTables } from "../../bench/report/loading.ts";
import { FORMATS } from "../../src/graph/stored.ts";
import type { PublishedModel } from "../../src/pipelines/cogvideox/published-models.ts";
import { testGpu } from "../support/gpu.ts";
import { TINY_CONFIGS } from "../support/tiny-checkpoint.ts";

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

test("in a worker of Chromium, over HTTP, from a picked file and from the private file system", async () => {
  const figures = await measureChromiumLoad(folder, BYTES, 1);
  expectWhole(figures, ["HTTP", "a picked file, slice", "OPFS, sync access handle"]);
}, 120_000);

test("every format is unpacked beside a copy", async () => {
  const gpu = await testGpu();
  const { rows } = await measureUnpacking(gpu, 2, [35, 512]);
  const formats = Object.keys(FORMATS);
  expect(rows.map(({ format, dtype }) => `${format} ${dtype}`)).toEqual(
    (gpu.caps.f16 ? ["f16", "f32"] : ["f32"]).flatMap((dtype) => formats.map((format) => `${format} ${dtype}`)),
  );
  for (const { rate, ofCopy } of rows) {
    expect(rate.median).toBeGreaterThan(0);
    expect(ofCopy.median).toBeGreaterThan(0);
  }
  const [table] = loadTables({ unpacking: { adapter: gpu.name, shape: [35, 512], rows } });
  expect(table!.rows.map(([format]) => format)).toEqual(formats);
  for (const row of table!.rows) expect(row).toHaveLength(table!.heads.length);
}, 60_000);

test("a component's load is measured beside cat and a copy on the device", async () => {
  const model: PublishedModel = {
    title: "tiny",
    className: "CogVideoXPipeline",
    configs: TINY_CONFIGS,
    dtype: "F16",
    shardBytes: { text_encoder: 1e4, transformer: 1e9, vae: 1e9 },
  };
  const figures = await measureComponents(await testGpu(), join(folder, "component"), { model, layers: 1, runs: 2 });
  expect(figures.rows.map(({ stored }) => stored)).toEqual(["F16", "BF16"]);
  for (const { load, cat, copy, weights, besides } of figures.rows) {
    for (const { median } of [load, cat, copy]) expect(median).toBeGreaterThan(0);
    expect(weights).toBeGreaterThan(1000);
    expect(besides).toBeGreaterThan(0);
  }
  const [table] = loadTables({ component: figures });
  for (const row of table!.rows) expect(row).toHaveLength(table!.heads.length);
}, 60_000);

test("a streamed step is measured beside a resident one, of the same bytes", async () => {
  const model: PublishedModel = {
    title: "tiny",
    className: "CogVideoXPipeline",
    configs: { ...TINY_CONFIGS, transformer: { ...TINY_CONFIGS.transformer, num_layers: 9 } },
    dtype: "F16",
    shardBytes: { text_encoder: 1e9, transformer: 1e9, vae: 1e9 },
  };
  const figures = await measureStreaming(await testGpu(), folder, { model, layers: 3, slots: 1, runs: 2, latents: [3, 2, 4] });
  expect(figures.layers).toBe(3);
  // A weight that still lies in its slot need not come again.
  expect(figures.bytes).toBeGreaterThan(0);
  for (const { median } of [figures.resident, figures.streamed, figures.alone, figures.ofSum]) expect(median).toBeGreaterThan(0);
  const [table] = loadTables({ streaming: figures });
  expect(table!.rows[0]).toHaveLength(table!.heads.length);
}, 60_000);

test("what arrives otherwise than it lay is not timed", async () => {
  const read = async (start: number, into: Uint8Array<ArrayBuffer>): Promise<void> => {
    fillPattern(into, start);
    if (start <= 9_000_000 && start + into.length > 9_000_000) into[9_000_000 - start]! ^= 1;
  };
  await expect(measureLoad(await testGpu(), [{ name: "there", read }], BYTES, 1)).rejects.toThrow(
    "there, mapped ring: byte 9000000 arrived otherwise than it was read",
  );
});
