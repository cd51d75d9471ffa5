/** Exact tiling's activations that memory has no room for, in a real browser's private file system: the same bytes, and nothing stays. */
import { join } from "node:path";
import { expect, it } from "vitest";
import { useBundledPage } from "../support/bundled-page.ts";
import { inPage } from "../support/example.ts";
import type { Spilled } from "./spilled-page.ts";

const site = useBundledPage(join(import.meta.dirname, "spilled-page.ts"));
const run = <T>(name: string): Promise<T> => inPage<T>(site.page, `return (await import("./page.mjs")).${name}();`);

it("a worker puts them there, to the same bytes, and leaves no file", { timeout: 240_000 }, async () => {
  const got = await run<Spilled | string>("spilledInWorker");
  if (typeof got === "string") throw new Error(got);
  expect([got.different, got.left]).toEqual([0, 0]);
  expect(got.values).toBe(3 * 9 * 12 * 20);
  expect(got.memory.spilledBytes).toBe(0);
  expect(got.disk.hostBytes).toBeLessThanOrEqual(1);
  expect(got.disk.spilledBytes).toBe(got.memory.hostBytes);
  expect(got.room).toBeGreaterThan(2 ** 20);
  expect(site.wrong).toEqual([]);
});

it("a page has no room for them: it may not read and write as it goes", { timeout: 60_000 }, async () => {
  expect(await run<number>("roomOfPage")).toBe(0);
});
