/**
 * The kernels in a browser: reference cases give the numbers that they give in Node, and the sweep passes. Of each class two cases are run,
 * the smallest; all of them where COGWHEEL_EVERY_CASE is set. (Node runs every case on this adapter in test/reference/cases.test.ts.)
 */
import { statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { readCase } from "../../src/check/reference/case.ts";
import { runCase } from "../../src/check/reference/run.ts";
import { negligibleOutputs } from "../../src/check/reference/training.ts";
import { serveFolder, type StaticServer } from "../../web/server.ts";
import { useBundledPage } from "../support/bundled-page.ts";
import { relativeL2 } from "../support/compare.ts";
import { inPage } from "../support/example.ts";
import { testGpu } from "../support/gpu.ts";
import { referenceFiles } from "../support/reference-files.ts";

const CASES = join(import.meta.dirname, "../reference/cases");
const all = referenceFiles();
const bytes = (name: string): number => statSync(join(CASES, name)).size;
const smallest = (names: readonly string[]): string[] => names.toSorted((a, b) => bytes(a) - bytes(b)).slice(0, 2);
const files = process.env["COGWHEEL_EVERY_CASE"]
  ? all
  : [...new Set(all.map(dirname))].flatMap((family) => smallest(all.filter((name) => dirname(name) === family)));

const site = useBundledPage(join(import.meta.dirname, "kernels-page.ts"));
let cases: StaticServer;

beforeAll(async () => {
  cases = await serveFolder(CASES, {}, { headers: { "access-control-allow-origin": "*" } });
});
afterAll(() => cases?.[Symbol.asyncDispose]());

it("streamed weights give the bytes of resident ones", { timeout: 300_000 }, async () => {
  const { different, runs } = await inPage<{ different: string[]; runs: number }>(
    site.page,
    'return (await import("./page.mjs")).streamedInPage();',
  );
  expect(different).toEqual([]);
  expect(runs).toBe(24);
  expect(site.wrong).toEqual([]);
});

it.each(files)(
  "%s",
  async (file) => {
    const url = cases.url + file.split("/").map(encodeURIComponent).join("/");
    const there = await inPage<{ wrong: string; outputs: Record<string, string> }>(
      site.page,
      `return (await import("./page.mjs")).caseInPage(${JSON.stringify(url)});`,
    );
    expect(there.wrong).toBe("");
    const here: Record<string, Float32Array> = {};
    const c = await readCase(new Uint8Array(await readFile(join(CASES, file))), file);
    await runCase(await testGpu(), c, {
      onOutput: (name, { data }) => {
        here[name] = data.slice();
      },
    });
    expect(Object.keys(there.outputs).sort()).toEqual(Object.keys(here).sort());
    // Adam makes whole steps of a gradient that is nothing but rounding, and that is each adapter's own.
    const negligible = negligibleOutputs(c);
    for (const [name, want] of Object.entries(here)) {
      if (negligible.has(name)) continue;
      const got = new Float32Array(Uint8Array.from(Buffer.from(there.outputs[name]!, "base64")).buffer);
      // NaN and infinities, which stored weights may hold, are the same; the rest is compared as numbers.
      for (const [i, value] of want.entries())
        if (!Number.isFinite(value)) {
          expect(got[i], `${name}[${i}]`).toBe(value);
          got[i] = want[i] = 0;
        }
      if (want.some((v) => v !== 0)) expect(relativeL2(got, want), name).toBeLessThanOrEqual(1e-5);
      else expect(Math.max(...got.map(Math.abs)), name).toBeLessThanOrEqual(1e-5);
    }
    expect(site.wrong).toEqual([]);
  },
  120_000,
);

it("the sweep of every specialisation passes, with parameters in uniforms", async () => {
  const { problems, cases, immediates } = await inPage<{ problems: string[]; cases: number; immediates: boolean }>(
    site.page,
    `return (await import("./page.mjs")).sweepInPage();`,
  );
  expect(problems).toEqual([]);
  expect(cases).toBeGreaterThan(20);
  expect(immediates, "this browser has none").toBe(false);
  expect(site.wrong).toEqual([]);
}, 600_000);
